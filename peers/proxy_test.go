package peers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// l4proxy is the program under test.
type l4proxy struct {
	*process
	workers  int
	baseline map[string]int // descriptors before the first client
}

// startProxy runs the program with a configuration in the full form, plus the engine and a log in
// JSON. It returns when the proxy listens.
func startProxy(t testing.TB, engine, config string) *l4proxy {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tempDir(t), "l4proxy.yaml")
	config = fmt.Sprintf("log: {level: info, format: json}\nengine: %s\ndrain: {timeout: 5s}\n%s", engine, config)
	writeFile(t, file, []byte(config), 0o644)
	p := &l4proxy{process: command{argv: []string{binary, "run", "-c", file}}.start(t)}
	started := p.says(t, &p.stderr, `"l4proxy started".*"engine":"(\w+)","workers":(\d+)`)
	if started[1] != engine {
		t.Fatalf("runs with the engine %s, want %s", started[1], engine)
	}
	p.workers, _ = strconv.Atoi(started[2])
	for _, m := range regexp.MustCompile(`(?m)^  (\w+): \{bind: `).FindAllStringSubmatch(config, -1) {
		p.address(t, m[1])
	}
	p.baseline = p.descriptors(t)
	return p
}

// address returns the address of a listener: host:port, or the path of a unix socket.
func (p *l4proxy) address(t testing.TB, listener string) string {
	t.Helper()
	return p.says(t, &p.stderr, `"listening","listener":"`+listener+`","address":"(?:unix:)?([^"]+)"`)[1]
}

// port returns the TCP port of a listener.
func (p *l4proxy) port(t testing.TB, listener string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.address(t, listener))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// descriptors counts the open descriptors of the proxy, by kind.
func (p *l4proxy) descriptors(t testing.TB) map[string]int {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.said())
	}
	kinds := map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed in the meantime
		}
		kind, _, _ := strings.Cut(target, ":[") // socket:[1234]
		kinds[kind]++
	}
	return kinds
}

// pipesKept is the number of pipes that each event loop keeps for the next bulk transfer. It closes
// the others when idle.
const pipesKept = 4

// settled reports whether the descriptors are those of a proxy without clients.
func (p *l4proxy) settled(t testing.TB) bool {
	t.Helper()
	now := p.descriptors(t)
	if now["pipe"] > p.baseline["pipe"]+2*pipesKept*p.workers {
		return false
	}
	for kind, n := range now {
		if kind != "pipe" && n > p.baseline[kind] { // a health check may have been under way before
			return false
		}
	}
	return true
}

// stop stops the proxy after its clients have left, checks that they left nothing behind, and
// returns the logged connections. expected are the messages above level info that this test allows.
func (p *l4proxy) stop(t testing.TB, expected ...string) connections {
	t.Helper()
	if !testnet.Within(patience, func() bool { return p.settled(t) }) {
		t.Errorf("descriptors after the last client: %v, before the first: %v", p.descriptors(t), p.baseline)
	}
	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !p.ended() {
		t.Fatalf("does not end at SIGTERM\n%s", p.said())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%v, want exit status 0\n%s", p.cmd.ProcessState, p.said())
	}
	if stdout, _ := p.stdout.read(); stdout != "" {
		t.Errorf("wrote to stdout: %q", tail(stdout))
	}
	log, _ := p.stderr.read()
	return readLog(t, log, expected...)
}
