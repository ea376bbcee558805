package peers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// redis is a running redis-server.
type redis struct{ port int }

func startRedis(t testing.TB) redis {
	t.Helper()
	port := testnet.FreePort(t)
	p := command{argv: []string{
		testenv.NeedTool(t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
		"--dir", tempDir(t), "--save", "", "--appendonly", "no",
	}}.start(t)
	p.says(t, &p.stdout, "Ready to accept connections")
	return redis{port}
}

// ask sends inline commands directly to the server, in one segment, and returns the answers.
func (r redis) ask(t testing.TB, commands string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, commands); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

const (
	// Redis counts bytes when it has read or written them. The counts include the two answers after
	// the reset, and the question before the answer.
	redisReset       = "CONFIG RESETSTAT\r\nQUIT\r\n"
	redisResetAnswer = "+OK\r\n+OK\r\n"
	redisInfo        = "INFO all\r\nQUIT\r\n"
)

// resetCounts resets the server's counts of bytes and commands.
func (r redis) resetCounts(t testing.TB) {
	t.Helper()
	if answer := r.ask(t, redisReset); answer != redisResetAnswer {
		t.Fatalf("redis: %q", answer)
	}
}

// counts returns the bytes that other clients have sent and received since resetCounts, and the
// number of their SET and GET commands.
func (r redis) counts(t testing.TB) (in, out, sets, gets uint64) {
	t.Helper()
	info := r.ask(t, redisInfo)
	number := func(pattern string) uint64 {
		m := regexp.MustCompile(pattern + `(\d+)`).FindStringSubmatch(info)
		if m == nil {
			return 0
		}
		n, _ := strconv.ParseUint(m[1], 10, 64)
		return n
	}
	return number("total_net_input_bytes:") - uint64(len(redisInfo)),
		number("total_net_output_bytes:") - uint64(len(redisResetAnswer)),
		number("cmdstat_set:calls="), number("cmdstat_get:calls=")
}

func TestPeerRedis(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	benchmark := testenv.NeedTool(t, "redis-benchmark")
	cli := testenv.NeedTool(t, "redis-cli")
	first, second := startRedis(t), startRedis(t)

	eachEngine(t, func(t *testing.T, engine string) {
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  both: {bind: "127.0.0.1:0", pool: both}
  pubsub: {bind: "127.0.0.1:0", pool: pubsub}
  one: {bind: "127.0.0.1:0", pool: one}
pools:
  both: {policy: least_conn, backends: ["127.0.0.1:%[1]d", "127.0.0.1:%[2]d"]}
  pubsub: {policy: least_conn, backends: ["127.0.0.1:%[1]d", "127.0.0.1:%[2]d"]}
  one: {backends: ["127.0.0.1:%[1]d"]}
`, first.port, second.port))
		first.resetCounts(t)
		second.resetCounts(t)

		const requests, clients = 20000, 50
		for _, pipeline := range []int{1, 16} {
			redisBenchmark(t, benchmark, p.port(t, "both"), requests, clients, pipeline)
		}
		redisValue(t, cli, p.port(t, "one"), noise(1, 10<<20))
		redisPubSub(t, cli, p.port(t, "pubsub"))

		all := p.stop(t)
		in1, out1, sets1, gets1 := first.counts(t)
		in2, out2, sets2, gets2 := second.counts(t)
		in, out := all.bytes()
		if in != in1+in2 || out != out1+out2 {
			t.Errorf("bytes in and out: %d and %d, the servers counted %d and %d", in, out, in1+in2, out1+out2)
		}
		if sets, gets := sets1+sets2, gets1+gets2; sets != 2*requests+1 || gets != 2*requests+1 {
			t.Errorf("%d SET and %d GET arrived, want %d each", sets, gets, 2*requests+1)
		}
		both := all.of("both")
		// Two runs of two tests each. Each run may add a connection that asks for the server's
		// configuration.
		within(t, "connections of redis-benchmark", uint64(len(both)), 4*clients, 4*clients+2)
		both.ended(t, "redis-benchmark", len(both), "closed client")
		for backend, n := range both.backends() {
			within(t, "connections to "+backend, uint64(n), clients, 3*clients)
		}
		all.of("pubsub").ended(t, "publish and subscribe", 4, "closed client")
		for backend, n := range all.of("pubsub").backends() {
			within(t, "subscribers and publishers at "+backend, uint64(n), 2, 2)
		}
		all.of("one").ended(t, "large value", 2, "closed client")
	})
}

func redisBenchmark(t *testing.T, benchmark, port string, requests, clients, pipeline int) {
	t.Helper()
	out := command{argv: []string{
		benchmark, "-h", "127.0.0.1", "-p", port, "-t", "set,get", "--csv",
		"-n", strconv.Itoa(requests), "-c", strconv.Itoa(clients), "-P", strconv.Itoa(pipeline),
	}}.run(t)
	for _, test := range []string{"SET", "GET"} {
		if !regexp.MustCompile(`(?m)^"` + test + `","[1-9]`).MatchString(out) {
			t.Errorf("redis-benchmark -P %d has no result for %s:\n%s", pipeline, test, out)
		}
	}
}

// redisValue stores a large value and reads it back.
func redisValue(t *testing.T, cli, port string, value []byte) {
	t.Helper()
	set := command{
		argv:  []string{cli, "-h", "127.0.0.1", "-p", port, "-x", "SET", "large"},
		stdin: bytes.NewReader(value),
	}.run(t)
	if set != "OK\n" {
		t.Fatalf("SET: %q", set)
	}
	got := command{argv: []string{cli, "-h", "127.0.0.1", "-p", port, "GET", "large"}}.run(t)
	if got = strings.TrimSuffix(got, "\n"); got != string(value) {
		t.Errorf("GET returns %d bytes with SHA-256 %s, want %d with %s",
			len(got), sha256Of([]byte(got)), len(value), sha256Of(value))
	}
}

// redisPubSub has one subscriber and one publisher per backend, which least_conn takes care of.
// Messages arrive on connections that are otherwise silent.
func redisPubSub(t *testing.T, cli, port string) {
	t.Helper()
	argv := []string{cli, "-h", "127.0.0.1", "-p", port}
	var subscribers, publishers []*process
	for range 2 {
		s := command{argv: append(argv, "SUBSCRIBE", "news")}.start(t)
		s.says(t, &s.stdout, `^subscribe\nnews\n1\n`)
		subscribers = append(subscribers, s)
	}
	for i := range 2 {
		publisher := command{argv: argv}.start(t)
		publishers = append(publishers, publisher)
		publisher.typed(t, fmt.Sprintf("PUBLISH news from-%d", i))
		publisher.says(t, &publisher.stdout, `^1\n`) // number of subscribers that got it
	}
	heard := map[string]bool{}
	for _, s := range subscribers {
		heard[s.says(t, &s.stdout, `^message\nnews\n(from-\d)\n`)[1]] = true
	}
	if len(heard) != 2 {
		t.Errorf("both subscribers heard the same publisher: %v", heard)
	}
	for _, publisher := range publishers {
		publisher.stdin.Close()
		if !publisher.ended() || publisher.cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("a publisher: %v\n%s", publisher.cmd.ProcessState, publisher.said())
		}
	}
	for _, s := range subscribers {
		s.end(t, syscall.SIGTERM)
	}
}
