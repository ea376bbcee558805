package peers

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

const loopback = "127.0.0.1"

// goodbye is how a session ends: the client sends Terminate and closes at once. On a busy machine,
// the server may still be first, because it closes when it reads that message ("Message Flow,
// Termination" in PostgreSQL's manual).
var goodbye = []string{"closed client", "closed backend"}

func TestPeerPostgreSQL(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	tools, template, owner := preparePostgres(t)

	eachEngine(t, func(t *testing.T, engine string) {
		first := startPostgres(t, tools, template, owner)
		second := startPostgres(t, tools, template, owner)
		clientDir := tempDir(t)
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  bench: {bind: "127.0.0.1:0", pool: tcp}
  copy_out: {bind: "127.0.0.1:0", pool: tcp}
  copy_in: {bind: "127.0.0.1:0", pool: tcp}
  unix: {bind: "unix:%[1]s/.s.PGSQL.5432", pool: unix}
  both: {bind: "127.0.0.1:0", pool: both}
pools:
  tcp: {backends: ["127.0.0.1:%[2]s"]}
  unix: {backends: ["unix:%[3]s"]}
  both: {policy: least_conn, backends: ["127.0.0.1:%[2]s", "127.0.0.1:%[4]s"]}
`, clientDir, first.port, first.socket(), second.port))

		postgresBench(t, tools, first, loopback, p.port(t, "bench"))
		postgresBench(t, tools, first, clientDir, "5432")
		size := postgresCopy(t, tools, first, p.port(t, "copy_out"), p.port(t, "copy_in"))
		victim, survivor := postgresKill(t, tools, p.port(t, "both"), first, second)

		all := p.stop(t, "backend unreachable")
		const benchConnections = 8
		for _, listener := range []string{"bench", "unix"} {
			bench := all.of(listener)
			if len(bench) < benchConnections {
				t.Fatalf("%s: %d connections, want at least %d", listener, len(bench), benchConnections)
			}
			bench.ended(t, "pgbench at "+listener, len(bench), goodbye...)
		}
		if client := all.of("unix")[0].Client; client != "unix" {
			t.Errorf("client on a unix socket: %q", client)
		}
		checkCopies(t, all.of("copy_out"), all.of("copy_in"), size)
		checkFailover(t, all.of("both"), victim, survivor)
	})
}

// postgresBench recreates pgbench's tables and runs its transactions, through the proxy at host and
// port.
func postgresBench(t *testing.T, tools postgresTools, direct *postgres, host, port string) {
	t.Helper()
	at := []string{"-h", host, "-p", port, "-U", "postgres"}
	command{argv: append(append([]string{tools.pgbench, "-i", "-q", "-s", "1"}, at...), "postgres")}.run(t)
	out := command{argv: append(append([]string{tools.pgbench, "-n", "-c", "8", "-t", "100"}, at...), "postgres")}.run(t)
	if !strings.Contains(out, "transactions actually processed: 800/800") {
		t.Errorf("pgbench at %s:%s:\n%s", host, port, out)
	}
	if n := tools.sql(t, loopback, direct.port, "SELECT count(*) FROM pgbench_history"); n != "800" {
		t.Errorf("pgbench at %s:%s: the server has %s transactions, want 800", host, port, n)
	}
}

// postgresCopy copies one table to another through the proxy in both directions, and returns the
// size of the text.
func postgresCopy(t *testing.T, tools postgresTools, direct *postgres, outPort, inPort string) uint64 {
	t.Helper()
	const columns = "(id int, filler text)"
	tools.sql(t, loopback, direct.port, "CREATE UNLOGGED TABLE source "+columns+"; CREATE UNLOGGED TABLE target "+columns+
		"; INSERT INTO source SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, 50000) i")
	copyOut := func(table, port string) *digest {
		d := newDigest()
		c := tools.psqlAt(loopback, port, "-c", "COPY "+table+" TO STDOUT")
		c.stdout = d
		c.run(t)
		return d
	}
	want := copyOut("source", direct.port)
	within(t, "size of the copied text", want.n, 45e6, 55e6)
	if got := copyOut("source", outPort); got.sum() != want.sum() {
		t.Errorf("COPY out: %d bytes with SHA-256 %s, want %d with %s", got.n, got.sum(), want.n, want.sum())
	}

	read, write := io.Pipe()
	source := tools.psqlAt(loopback, direct.port, "-c", "COPY source TO STDOUT")
	source.stdout = write
	sent := make(chan error, 1)
	go func() {
		_, _, err := source.try()
		write.CloseWithError(err) // nil ends the text
		sent <- err
	}()
	target := tools.psqlAt(loopback, inPort, "-c", "COPY target FROM STDIN")
	target.stdin = read
	_, stderr, err := target.try()
	read.Close()
	if err := <-sent; err != nil {
		t.Fatalf("COPY of the source: %v", err)
	}
	if err != nil {
		t.Fatalf("COPY in: %v\n%s", err, stderr)
	}
	if got := copyOut("target", direct.port); got.sum() != want.sum() {
		t.Errorf("COPY in: %d bytes with SHA-256 %s arrived, want %d with %s", got.n, got.sum(), want.n, want.sum())
	}
	return want.n
}

// checkCopies checks the connections of postgresCopy. The protocol adds a few bytes to each row of
// one kilobyte.
func checkCopies(t *testing.T, copyOut, copyIn connections, size uint64) {
	t.Helper()
	copyOut.ended(t, "COPY TO", 1, goodbye...)
	copyIn.ended(t, "COPY FROM", 1, goodbye...)
	const talk = 4096 // the rest of such a session
	in, out := copyOut.bytes()
	within(t, "bytes out of COPY TO", out, size, size+size/100+talk)
	within(t, "bytes in of COPY TO", in, 1, talk)
	in, out = copyIn.bytes()
	within(t, "bytes in of COPY FROM", in, size, size+size/100+talk)
	within(t, "bytes out of COPY FROM", out, 1, talk)
}

// postgresKill kills the server that is running a client's query. The client gets an error, and the
// other server serves the next clients.
func postgresKill(t *testing.T, tools postgresTools, port string, first, second *postgres) (victim, survivor *postgres) {
	t.Helper()
	client := tools.psqlAt(loopback, port).start(t)
	client.typed(t, "SELECT 'session', pg_backend_pid(), current_setting('port');")
	m := client.says(t, &client.stdout, `^session\|(\d+)\|(\d+)$`)
	session, _ := strconv.Atoi(m[1])
	victim, survivor = first, second
	if m[2] == survivor.port {
		victim, survivor = survivor, victim
	}

	client.typed(t, "SELECT pg_sleep(600);")
	testnet.Eventually(t, "the query is running", func() bool {
		return tools.sql(t, loopback, victim.port, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid = "+m[1]) == "1"
	})
	victim.kill(t, session)

	if !client.ended() {
		t.Fatalf("the client is not told that its server has died\n%s", client.said())
	}
	stderr, _ := client.stderr.read()
	if code := client.cmd.ProcessState.ExitCode(); code == 0 || !regexp.MustCompile("server closed the connection|connection to server was lost").MatchString(stderr) {
		t.Errorf("psql whose server died: exit status %d\n%s", code, client.said())
	}
	for range 4 {
		if got := tools.sql(t, loopback, port, "SELECT current_setting('port')"); got != survivor.port {
			t.Errorf("served by port %s, want the survivor's, %s", got, survivor.port)
		}
	}
	return victim, survivor
}

// checkFailover checks the connections of postgresKill: the one whose server died, and the later
// ones.
func checkFailover(t *testing.T, cs connections, victim, survivor *postgres) {
	t.Helper()
	var broken, next connections
	for _, c := range cs {
		switch c.Backend {
		case loopback + ":" + victim.port:
			broken = append(broken, c)
		case loopback + ":" + survivor.port:
			next = append(next, c)
		}
	}
	if len(broken) != 1 || len(next) != 4 {
		t.Errorf("kill: %d connections to the victim and %d to the survivor, want 1 and 4", len(broken), len(next))
	}
	broken.ended(t, "the connection whose server died", 1, "closed backend", "reset backend")
	refused := 0
	for i := range next {
		refused += next[i].Attempts - 1
		next[i].Attempts = 1
	}
	next.ended(t, "connections after the kill", 4, goodbye...)
	// Ties rotate, so one of them is sent to the dead server, which is then in backoff for at least
	// a second.
	within(t, "dials of the dead server", uint64(refused), 1, 2)
}
