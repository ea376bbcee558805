package faults

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// network is another network namespace. Sockets that are opened in do belong to it.
type network struct {
	calls chan func()
	tid   int
}

// newNetwork makes a network namespace that lives on a thread of its own until the end of the test.
func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{calls: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		n.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		for f := range n.calls {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(n.calls) })
	return n
}

// do runs f in the namespace. f must not end the test.
func (n *network) do(f func()) {
	done := make(chan struct{})
	n.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// ip runs ip(8) in the namespace.
func (n *network) ip(t *testing.T, args string) {
	t.Helper()
	program := testenv.NeedTool(t, "ip")
	var out []byte
	var err error
	n.do(func() { out, err = exec.Command(program, strings.Fields(args)...).CombinedOutput() })
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// connect makes a link between this namespace, where it has a name and the address 1 of the
// prefixes, and n, where it has the address 2 and is the way to everywhere.
func (n *network) connect(t *testing.T, name, prefix4, prefix6 string) {
	t.Helper()
	here := func(args string) { t.Helper(); tool(t, "ip", strings.Fields(args)...) }
	here(fmt.Sprintf("link add %s type veth peer name far netns %d", name, n.tid))
	here(fmt.Sprintf("addr add %s1/24 dev %s", prefix4, name))
	here(fmt.Sprintf("addr add %s1/64 dev %s nodad", prefix6, name))
	here("link set " + name + " up")
	n.ip(t, "link set lo up")
	n.ip(t, fmt.Sprintf("addr add %s2/24 dev far", prefix4))
	n.ip(t, fmt.Sprintf("addr add %s2/64 dev far nodad", prefix6))
	n.ip(t, "link set far up")
	n.ip(t, "route add default via "+prefix4+"1")
	n.ip(t, "-6 route add default via "+prefix6+"1")
}

// listen starts a server in the namespace that tells each client its address, and echoes.
func (n *network) listen(t *testing.T, address string) {
	t.Helper()
	var l net.Listener
	var err error
	n.do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintln(c, host)
			c.Close()
		}
	}()
}

// ask dials from the namespace, and returns what the server says.
func (n *network) ask(address string) (answer string, err error) {
	n.do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", address, 5*time.Second); err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		var all bytes.Buffer
		_, err = all.ReadFrom(c)
		answer = strings.TrimSpace(all.String())
	})
	return answer, err
}

// recipe is the shell script in a section of a document.
func recipe(t *testing.T, document, section string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## "+section+"\n")
	_, after, _ = strings.Cut(after, "\n```bash\n")
	script, _, found := strings.Cut(after, "\n```\n")
	if !found {
		t.Fatalf("%s has no script in %q", document, section)
	}
	return script
}

// TestFaultTransparent runs the recipe of the documentation: clients dial addresses that no machine
// has, the proxy serves them, also after an upgrade, and backends see the addresses of the clients.
// A backend of another family is passed over.
func TestFaultTransparent(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	script := recipe(t, "../docs/edge.md", "Transparent mode")
	clients, servers := newNetwork(t), newNetwork(t)
	clients.connect(t, "eth0", "10.0.0.", "2001:db8::")
	servers.connect(t, "eth1", "10.0.1.", "2001:db8:1::")
	testenv.NeedTool(t, "nft")
	tool(t, "sh", "-ec", script)
	servers.listen(t, "10.0.1.2:80")
	servers.listen(t, "[2001:db8:1::2]:80")
	engines(t, func(t *testing.T, engine string) {
		p := serve(t, settings{
			engine: engine, backends: []string{"10.0.1.2:80", "[2001:db8:1::2]:80"},
			options: `{address: ":8080", transparent: true}`, pool: "    source: client",
		})
		served := func() {
			t.Helper()
			for dialed, want := range map[string]string{"192.0.2.80:80": "10.0.0.2", "[2001:db8:2::80]:80": "2001:db8::2"} {
				for range 3 {
					if got, err := clients.ask(dialed); err != nil || got != want {
						t.Fatalf("the backend of a client that dials %s sees %q, %v, want %s\n%s", dialed, got, err, want, p.log())
					}
				}
			}
		}
		served()
		p.upgrade()
		served()
		c := p.dial() // a client without an address
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a client of the unix socket was served")
		}
		testnet.Eventually(t, "the reason is logged", func() bool { return strings.Contains(p.log(), `"reason":"no_source"`) })
		p.end()
	})
}

// TestFaultTransparentNotAllowed starts without CAP_NET_ADMIN. The error says where and what to do.
func TestFaultTransparentNotAllowed(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	testenv.NeedRoot(t)
	s := settings{engine: "auto", backends: []string{"127.0.0.1:1"}, noSocket: true, binds: []string{"127.0.0.1:0"},
		options: `{address: "127.0.0.1:0", transparent: true}`, pool: "    source: client\n    tcp: {mark: 7}"}
	dir, err := os.MkdirTemp("", "l4proxy-faults-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, file := dir+"/l4proxy", dir+"/l4proxy.yaml"
	for from, to := range map[string]string{binary(t): program, s.file(t): file} {
		data, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	for _, want := range []string{
		file + ":6:65: listener front: addresses of other machines require a capability: operation not permitted: run as root, or give the process CAP_NET_ADMIN",
		file + ":12:13: pool back: addresses of other machines require a capability: operation not permitted: ",
		file + ":13:17: pool back: tcp.mark requires a capability: operation not permitted: ",
	} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s\nwant %s", err, out, want)
		}
	}
}

// TestFaultManySources opens more connections to one backend than an address has ports: with 10
// ports and 3 addresses, there are 30. An address that the machine does not have is passed over.
// One more client fails with a local error, and the backend is not blamed.
func TestFaultManySources(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, ip := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"} {
		tool(t, "ip", "addr", "add", ip+"/128", "dev", "lo", "nodad")
	}
	const ports, most = 10, 30 // the kernel looks at an even number of ports
	families := []struct{ backend, source string }{
		{"127.0.0.1:9000", "127.0.0.2, 127.0.0.3, 192.0.2.1, 127.0.0.4"},
		{"[::1]:9000", `"2001:db8::1", "2001:db8::2", "2001:db8:9::9", "2001:db8::3"`},
	}
	used := 50000
	engines(t, func(t *testing.T, engine string) {
		for _, of := range families {
			b := testnet.Serve(t, "tcp", of.backend, testnet.Echo)
			p := run(t, settings{engine: engine, backends: []string{b.Addr}, pool: "    source: [" + of.source + "]"})
			testnet.Eventually(t, "l4proxy is quiet", func() bool { return len(p.records()) == 1 })
			used += 100 // those of the last run may still be in TIME_WAIT
			setting(t, "net/ipv4/ip_local_port_range", fmt.Sprintf("%d %d", used, used+ports-1))
			var inside []testnet.Conn
			for i := range most {
				c := p.dial()
				if err := ask(c, "hello"); err != nil {
					t.Fatalf("client %d of %d: %v\n%s", i+1, most, err, p.log())
				}
				inside = append(inside, c)
			}
			if err := ask(p.dial(), "hello"); err == nil {
				t.Errorf("more than %d clients were served", most)
			}
			testnet.Eventually(t, "the reason is logged", func() bool { return strings.Contains(p.log(), `"reason":"local_ports"`) })
			for _, c := range inside {
				c.Close()
			}
			b.Reset()
			testnet.Eventually(t, "a new client is served", func() bool {
				c := p.dial()
				defer c.Close()
				return ask(c, "again") == nil
			})
			setting(t, "net/ipv4/ip_local_port_range", "32768 60999")
			p.stop()
			b.Close()
		}
	})
}

// TestFaultInterface binds one address on two interfaces, for two processes. Each gets the clients
// of its own.
func TestFaultInterface(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	first, second := newNetwork(t), newNetwork(t)
	first.connect(t, "edge0", "10.0.0.", "2001:db8::")
	second.connect(t, "edge1", "10.0.1.", "2001:db8:1::")
	engines(t, func(t *testing.T, engine string) {
		one := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { fmt.Fprintln(c, "one") })
		two := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { fmt.Fprintln(c, "two") })
		p := run(t, settings{engine: engine, backends: []string{one.Addr}, options: `{address: ":8080", interface: edge0}`})
		q := run(t, settings{engine: engine, backends: []string{two.Addr}, options: `{address: ":8080", interface: edge1}`})
		for _, address := range []string{netip.MustParseAddrPort("10.0.0.1:8080").String(), "[2001:db8::1]:8080"} {
			if got, err := first.ask(address); err != nil || got != "one" {
				t.Errorf("a client on edge0 gets %q, %v", got, err)
			}
		}
		if got, err := second.ask("10.0.1.1:8080"); err != nil || got != "two" {
			t.Errorf("a client on edge1 gets %q, %v", got, err)
		}
		p.stop()
		q.stop()
	})
}
