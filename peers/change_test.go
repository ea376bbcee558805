package peers

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// upgradesInARow is how many upgrades each client lives through, one after the other.
const upgradesInARow = 5

// poolSettings are configurations of a pool with one backend that runs. Together, reloads from each
// to the next change every setting of a pool.
var poolSettings = []string{
	`{backends: ["127.0.0.1:%d"]}`,
	`
    policy: source_hash
    hash: {seed: other, max_load: 150%%}
    connect: {timeout: 2s, attempts: 2, hedge: 500ms}
    health: {type: tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 5}
    outlier: {failures: 9, eject: 10s, max_ejected: 100%%}
    panic_threshold: 50%%
    slow_start: 2s
    on_down: close
    on_removed: reset
    on_recovered: close
    spread: 1s
    queue: {size: 50, timeout: 3s}
    zone: here
    backends: [{address: "127.0.0.1:%d", weight: 7, max_connections: 500, priority: 1, zone: here}, {address: "127.0.0.1:9", priority: 2}]`,
	// Neither hashes nor one backend go with a rebalance.
	`
    policy: p2c
    rebalance: {rate: 1/m, jitter: 50%%}
    connect: {timeout: 1s, attempts: 1}
    health: {type: tcp, interval: 300ms, timeout: 200ms, jitter: 0%%, rise: 2, fall: 2}
    on_down: drain
    on_removed: close
    backends: [{address: "127.0.0.1:%d", weight: 3}, {address: "127.0.0.1:9", weight: 2, backup: true}]`,
}

// eachChange makes all changes: upgrades in a row, reloads of every pool setting and back, and an
// upgrade after them. Before the first one and after each, check must find that the clients have
// noticed nothing.
func eachChange(t *testing.T, engine, config string, port int, clients func(p *changing) (check func(step int))) {
	t.Helper()
	with := func(settings string) string { return config + fmt.Sprintf(settings, port) + "\n" }
	p := startChanging(t, engine, with(poolSettings[0]))
	check := clients(p)
	step := 0
	next := func() {
		t.Helper()
		step++
		check(step)
	}
	next()
	for range upgradesInARow {
		p.upgrade()
		next()
	}
	for i := range poolSettings {
		p.reload(engine, with(poolSettings[(i+1)%len(poolSettings)]))
		next()
	}
	p.upgrade()
	next()
}

// TestPeerChangesUnderPgbench keeps the sessions of pgbench through every change: the server sees
// the same ones all the time.
func TestPeerChangesUnderPgbench(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	tools, template, owner := preparePostgres(t)

	eachEngine(t, func(t *testing.T, engine string) {
		server := startPostgres(t, tools, template, owner)
		direct := func(query string) string { return tools.sql(t, loopback, server.port, query) }
		port, _ := strconv.Atoi(server.port)
		const config = "listeners:\n  pg: {bind: \"127.0.0.1:0\", pool: pg}\npools:\n  pg: "
		eachChange(t, engine, config, port, func(p *changing) func(int) {
			at := []string{"-h", loopback, "-p", p.port("pg"), "-U", "postgres"}
			command{argv: append(append([]string{tools.pgbench, "-i", "-q", "-s", "1"}, at...), "postgres")}.run(t)
			const clients = "8"
			bench := command{
				argv: append(append([]string{tools.pgbench, "-n", "-M", "prepared", "-c", clients, "-T", "600"}, at...), "postgres"),
			}.start(t)
			sessions := func() string {
				return direct("SELECT count(*), string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE application_name = 'pgbench'")
			}
			done := func() int {
				n, _ := strconv.Atoi(direct("SELECT count(*) FROM pgbench_history"))
				return n
			}
			testnet.Eventually(t, "all sessions", func() bool { return strings.HasPrefix(sessions(), clients+"|") })
			first, last := sessions(), 0
			return func(step int) {
				t.Helper()
				last = done()
				testnet.Eventually(t, "every session has further transactions", func() bool { return done() > last+100 })
				if got := sessions(); got != first {
					t.Fatalf("step %d: sessions %s, at first %s\n%s", step, got, first, bench.said())
				}
				if stderr, _ := bench.stderr.read(); regexp.MustCompile("(?i)abort|error|fatal").MatchString(stderr) {
					t.Fatalf("step %d: %s", step, bench.said())
				}
				// Each transaction adds the same to a teller and to the history.
				if got := direct("SELECT (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history)"); got != "t" {
					t.Fatalf("step %d: the tellers and the history differ", step)
				}
			}
		})
	})
}

// TestPeerChangesUnderRedis keeps a benchmark, a transaction and a subscription through every
// change.
func TestPeerChangesUnderRedis(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	benchmark, cli := testenv.NeedTool(t, "redis-benchmark"), testenv.NeedTool(t, "redis-cli")

	eachEngine(t, func(t *testing.T, engine string) {
		server := startRedis(t)
		const config = "listeners:\n  redis: {bind: \"127.0.0.1:0\", pool: redis}\npools:\n  redis: "
		eachChange(t, engine, config, server.port, func(p *changing) func(int) {
			at := []string{"-h", "127.0.0.1", "-p", p.port("redis")}
			const clients = 20
			load := command{argv: append(append([]string{benchmark}, at...), "-t", "set,get", "-n", "1000000000", "-c", strconv.Itoa(clients), "-q")}.start(t)
			session := func(args ...string) *process {
				return command{argv: append(append([]string{cli}, at...), args...)}.start(t)
			}
			subscriber := session("SUBSCRIBE", "news")
			subscriber.says(t, &subscriber.stdout, `^subscribe\nnews\n1\n`)
			publisher, transaction := session(), session()
			begin := func(step int) {
				transaction.typed(t, "MULTI")
				transaction.typed(t, fmt.Sprintf("SET step %d", step))
				transaction.typed(t, fmt.Sprintf("ECHO queued-%d", step))
			}
			begin(0)
			var first map[string]bool
			testnet.Eventually(t, "all connections", func() bool {
				first = server.clients(t)
				return len(first) >= clients+3
			})
			return func(step int) {
				t.Helper()
				// The transaction began before the change, and is executed after it.
				transaction.typed(t, "EXEC")
				transaction.says(t, &transaction.stdout, fmt.Sprintf(`^OK\nqueued-%d\n`, step-1))
				begin(step)
				publisher.typed(t, fmt.Sprintf("PUBLISH news message-%d", step))
				subscriber.says(t, &subscriber.stdout, fmt.Sprintf(`^message\nnews\nmessage-%d\n`, step))
				before := server.commands(t)
				testnet.Eventually(t, "further commands", func() bool { return server.commands(t) > before+1000 })
				now := server.clients(t)
				for id := range first {
					if !now[id] {
						t.Fatalf("step %d: connection %s has ended\n%s", step, id, load.said())
					}
				}
				if stderr, _ := load.stderr.read(); stderr != "" {
					t.Fatalf("step %d: %s", step, load.said())
				}
			}
		})
	})
}

// clients returns the identifiers of the open connections, without the one that asks.
func (r redis) clients(t testing.TB) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^id=(\d+) .* cmd=(\S+)`).FindAllStringSubmatch(r.ask(t, "CLIENT LIST\r\nQUIT\r\n"), -1) {
		if !strings.HasPrefix(m[2], "client") {
			ids[m[1]] = true
		}
	}
	return ids
}

// commands returns the number of commands that the server has processed.
func (r redis) commands(t testing.TB) int {
	t.Helper()
	m := regexp.MustCompile(`total_commands_processed:(\d+)`).FindStringSubmatch(r.ask(t, "INFO stats\r\nQUIT\r\n"))
	if m == nil {
		t.Fatal("redis: no total_commands_processed")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestPeerChangesUnderSSH keeps a login with a terminal through every change. Lines go both ways:
// numbered ones from the server all the time, and questions with answers.
func TestPeerChangesUnderSSH(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	ssh := testenv.NeedTool(t, "ssh")
	port, client := startSSHD(t)

	eachEngine(t, func(t *testing.T, engine string) {
		const config = "listeners:\n  ssh: {bind: \"127.0.0.1:0\", pool: ssh}\npools:\n  ssh: "
		eachChange(t, engine, config, port, func(p *changing) func(int) {
			const script = `stty -echo; i=0; while i=$((i+1)); do echo tick $i; sleep 0.01; done & ` +
				`while read n; do echo "answer $((n * n))."; done`
			session := command{argv: []string{ssh, "-tt", "-F", client, "-p", p.port("ssh"), "proxied", script}}.start(t)
			session.says(t, &session.stdout, `^tick 1\r?$`)
			t.Cleanup(func() { checkTicks(t, session) })
			return func(step int) {
				t.Helper()
				session.typed(t, strconv.Itoa(step+100))
				session.says(t, &session.stdout, fmt.Sprintf(`^answer %d\.`, (step+100)*(step+100)))
			}
		})
	})
}

// checkTicks checks that all numbered lines are there, in order.
func checkTicks(t *testing.T, session *process) {
	t.Helper()
	text, _ := session.stdout.read()
	ticks := regexp.MustCompile(`(?m)^tick (\d+)\r?\n`).FindAllStringSubmatch(text, -1)
	for i, m := range ticks {
		if m[1] != strconv.Itoa(i+1) {
			t.Fatalf("line %d is tick %s", i+1, m[1])
		}
	}
	if len(ticks) < 10 {
		t.Errorf("only %d numbered lines: %s", len(ticks), tail(text))
	}
	if bytes.Contains([]byte(text), []byte("closed by")) {
		t.Errorf("the session: %s", tail(text))
	}
}
