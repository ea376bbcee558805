package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// zone is a name server in the namespace of a test. It answers every question for IPv4 addresses
// with those of addresses.
type zone struct {
	mu        sync.Mutex
	addresses func() []string // nil: the name does not exist
	asked     int

	servers []*dns.Server
	ended   sync.WaitGroup
}

func (z *zone) start(t *testing.T) {
	t.Helper()
	const address = "127.0.0.1:53"
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	z.servers = []*dns.Server{{PacketConn: packets, Handler: z}, {Listener: stream, Handler: z}}
	for _, s := range z.servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		z.ended.Go(func() { _ = s.ActivateAndServe() }) // it ends with stop
		<-started
	}
}

func (z *zone) stop() {
	for _, s := range z.servers {
		_ = s.Shutdown()
	}
	z.ended.Wait()
	z.servers = nil
}

// gives sets the answers.
func (z *zone) gives(addresses func() []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addresses, z.asked = addresses, 0
}

// answers is how many questions there were since gives.
func (z *zone) answers() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(q)
	reply.Compress = true
	if z.addresses == nil {
		reply.Rcode = dns.RcodeNameError
	} else if name := q.Question[0].Name; q.Question[0].Qtype == dns.TypeA {
		for _, a := range z.addresses() {
			header := dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(a)})
		}
	}
	if w.LocalAddr().Network() == "udp" {
		z.asked++
		reply.Truncate(dns.DefaultMsgSize)
	}
	_ = w.WriteMsg(reply)
}

// withResolvConf starts the process with another /etc/resolv.conf.
func withResolvConf(t *testing.T, text string) func(*exec.Cmd) {
	t.Helper()
	unshare := testenv.NeedTool(t, "unshare")
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(cmd *exec.Cmd) {
		const mount = `mount --bind "$0" /etc/resolv.conf && exec "$@"`
		cmd.Args = append([]string{unshare, "--mount", "sh", "-c", mount, file, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = unshare
	}
}

// TestFaultNameServer has the name server of a pool disappear, deny the name, lose most of its
// addresses and flood the proxy with others. Connections to the servers never notice.
func TestFaultNameServer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	servers := []string{"127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"}
	all := func() []string { return servers }
	for _, s := range servers {
		testnet.Serve(t, "tcp", s+":5432", testnet.Echo)
	}
	engines(t, func(t *testing.T, engine string) {
		z := &zone{addresses: all}
		z.start(t)
		defer func() { z.stop() }()
		p := run(t, settings{
			engine: engine, backends: []string{"db.test:5432"},
			pool: "    resolve: {min: 1s, max: 1s}\n    endpoints: {hold: 2s}\n    on_removed: reset\n    spread: 0",
		}, withResolvConf(t, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"))
		var long []testnet.Conn
		for range servers { // least_conn: one on each
			long = append(long, p.dial())
			mustAsk(t, long[len(long)-1], "hello")
		}
		files := p.openFiles()
		serve := func(when string) {
			t.Helper()
			for _, c := range long {
				if err := ask(c, "still there?"); err != nil {
					t.Fatalf("%s: %v\n%s", when, err, p.log())
				}
			}
		}
		logged := func(line string) {
			t.Helper()
			if !testnet.Within(testnet.Patience, func() bool { return strings.Contains(p.log(), line) }) {
				t.Fatalf("the log lacks %s:\n%s", line, p.log())
			}
		}
		newClients := func(when string) {
			t.Helper()
			for range 20 {
				c := p.dial()
				mustAsk(t, c, when)
				c.Close()
			}
		}

		z.stop()
		logged("cannot resolve the name, keeping its last addresses")
		serve("name server gone")
		newClients("name server gone")

		z.gives(nil)
		z.start(t)
		testnet.Eventually(t, "the proxy asks again", func() bool { return z.answers() >= 4 }) // A and AAAA
		serve("no such name")
		newClients("no such name")

		z.gives(all)
		logged("name resolves again")
		if strings.Contains(p.log(), "backends changed") {
			t.Errorf("the backends have changed:\n%s", p.log())
		}
		z.gives(func() []string { return servers[:1] })
		logged("removal of backends held back: too many at once")
		serve("most addresses lost")
		z.gives(all)
		logged("removal of backends no longer held back")

		z.gives(func() []string {
			flood := append([]string{}, servers...)
			for range 2500 {
				flood = append(flood, fmt.Sprintf("127.1.%d.%d", rand.IntN(256), 1+rand.IntN(254)))
			}
			return flood
		})
		began := time.Now()
		logged("name has too many addresses, ignoring some")
		testnet.Eventually(t, "there have been several answers", func() bool { return z.answers() >= 8 })
		if n, most := z.answers(), 2*(2+int(time.Since(began)/(900*time.Millisecond))); n > most {
			t.Errorf("%d questions in %v, want at most %d", n, time.Since(began), most)
		}
		serve("flood of addresses")
		z.gives(all)
		logged("removing the backends that were held back")
		serve("after the flood")
		newClients("after the flood")
		testnet.Eventually(t, "no descriptor is left open", func() bool { return p.openFiles() <= files })
		for _, c := range long {
			c.Close()
		}
		p.stop()
	})
}
