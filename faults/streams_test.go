package faults

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// TestFaultHalfClose has each side end its stream first, with few and with many bytes, and compares
// every byte.
func TestFaultHalfClose(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		p := run(t, settings{engine: engine, backends: []string{b.Addr}})
		b.Accept(t).Close() // the client that run made
		for _, n := range []int64{1, 64 << 20} {
			for _, clientFirst := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d_client_first_%v", n, clientFirst), func(t *testing.T) {
					first, second := p.dial(), b.Accept(t)
					if !clientFirst {
						first, second = second, first
					}
					var both sync.WaitGroup
					both.Go(func() {
						err := errors.Join(testnet.Stream(1).Send(first, n, 65537), first.CloseWrite(),
							testnet.Stream(2).CheckExactly(first, n, 65536))
						if err != nil {
							t.Error(err)
						}
					})
					both.Go(func() {
						err := errors.Join(testnet.Stream(1).CheckExactly(second, n, 65536),
							testnet.Stream(2).Send(second, n, 16385), second.CloseWrite())
						if err != nil {
							t.Error(err)
						}
					})
					both.Wait()
				})
			}
		}
		p.stop()
	})
}

// TestFaultBackendNeverCloses has a client that ends its stream, and a silent backend that keeps
// its own open. The half_close timeout frees both.
func TestFaultBackendNeverCloses(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, listener: "    timeouts: {half_close: 300ms}"})
		testnet.Eventually(t, "l4proxy is quiet", func() bool { return len(p.records()) == 1 })
		before := p.openFiles()
		c := p.dial()
		began := time.Now()
		c.CloseWrite()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
		}
		if took := time.Since(began); took < 250*time.Millisecond || took > 3*time.Second {
			t.Errorf("freed after %v, want about 300ms", took)
		}
		testnet.Eventually(t, "the descriptors are back", func() bool { return p.openFiles() == before })
		testnet.Eventually(t, "the reason is logged", func() bool {
			all := p.records()
			return all[len(all)-1].Reason == "half_close_timeout" && all[len(all)-1].Side == "proxy"
		})
	})
}

// TestFaultBackendRefuses has two backends, and one of them refuses. No client notices.
func TestFaultBackendRefuses(t *testing.T) {
	const many = 300
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{testnet.Refusing(t), b.Addr}})
		began := time.Now()
		for i := range many {
			c := p.dial()
			mustAsk(t, c, fmt.Sprintf("client %d", i))
			c.Close()
		}
		testnet.Eventually(t, "all are logged", func() bool { return len(p.records()) > many })
		twice := 0
		for _, r := range p.records() {
			if r.Backend != b.Addr || r.Reason != "closed" {
				t.Errorf("backend, reason = %s, %s", r.Backend, r.Reason)
			}
			twice += r.Attempts - 1
		}
		// The first client, and one probe after 1, 3, 7, … seconds.
		if most := 1 + int(time.Since(began)/time.Second); twice > most {
			t.Errorf("%d clients were sent to the refusing backend first, want at most %d", twice, most)
		}
	})
}

// TestFaultSynsSwallowed drops packets to a backend with nftables. The dial times out, and the next
// backend serves.
func TestFaultSynsSwallowed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo)
		silent := testnet.Serve(t, "tcp", "127.0.0.8:0", testnet.Echo)
		drop(t, "ip daddr 127.0.0.8")
		p := run(t, settings{engine: engine, backends: []string{silent.Addr, b.Addr}, pool: "    connect: {timeout: 200ms}"})
		for i := range 50 {
			c := p.dial()
			mustAsk(t, c, fmt.Sprintf("client %d", i))
			c.Close()
		}
		testnet.Eventually(t, "all are logged", func() bool { return len(p.records()) > 50 })
		twice := 0
		for _, r := range p.records() {
			if r.Reason != "closed" || r.Backend != b.Addr {
				t.Errorf("backend, reason = %s, %s", r.Backend, r.Reason)
			}
			twice += r.Attempts - 1
		}
		if twice < 1 || twice > 4 {
			t.Errorf("%d clients waited for the silent backend, want 1 and a few probes", twice)
		}
		if silent.Accepted() != 0 {
			t.Error("the rule drops nothing")
		}
	})
}

// TestFaultSourcePortsRunOut leaves few source ports. A client that gets no port ends with a local
// error, which does not count against the backend.
func TestFaultSourcePortsRunOut(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "127.0.0.1:9000", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, listener: "    timeouts: {idle: 1m}"})
		testnet.Eventually(t, "l4proxy is quiet", func() bool { return len(p.records()) == 1 })
		// Each engine has its own ports: those of the previous engine may still be in TIME_WAIT.
		first := 50000 + 100*len(engine)
		setting(t, "net/ipv4/ip_local_port_range", fmt.Sprintf("%d %d", first, first+7))
		defer setting(t, "net/ipv4/ip_local_port_range", "32768 60999")
		var inside []testnet.Conn
		failed := 0
		for range 12 {
			c := p.dial()
			if ask(c, "hello") == nil {
				inside = append(inside, c)
			} else {
				failed++
			}
		}
		if len(inside) < 6 || failed < 4 {
			t.Errorf("%d clients were served and %d failed, with 8 ports", len(inside), failed)
		}
		testnet.Eventually(t, "the reason is logged", func() bool {
			local := 0
			for _, r := range p.records() {
				if r.Reason == "local_ports" && r.Side == "proxy" {
					local++
				}
			}
			return local == failed
		})
		// Ports that a reset has freed are used again at once: the backend is not in backoff.
		for _, c := range inside {
			_ = c.Close()
		}
		b.Reset()
		testnet.Eventually(t, "a new client is served", func() bool {
			c := p.dial()
			defer c.Close()
			return ask(c, "again") == nil
		})
	})
}

// TestFaultMappedAddresses connects IPv4 clients to an IPv6 socket. IPv4 rules apply to them.
func TestFaultMappedAddresses(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		_, port, err := net.SplitHostPort(freeAddress(t, "127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		run(t, settings{
			engine: engine, backends: []string{b.Addr}, binds: []string{"[::]:" + port},
			listener: `    acl: [{deny: [127.0.0.3]}, {allow: ["127.0.0.2", "::ffff:127.0.0.4"]}]`,
		})
		at := "127.0.0.1:" + port
		for from, allowed := range map[string]bool{"127.0.0.1": false, "127.0.0.2": true, "127.0.0.3": false, "127.0.0.4": true} {
			c := testnet.DialFrom(t, from, at)
			if allowed {
				mustAsk(t, c, from)
				continue
			}
			if got, err := io.ReadAll(c); err != nil || string(got) != "Access Denied: Your IP is not authorized" {
				t.Errorf("%s reads %q, %v", from, got, err)
			}
		}
	})
}

// TestFaultLogBlocked logs to a pipe that is never read, and to a full disk. Traffic continues.
func TestFaultLogBlocked(t *testing.T) {
	const many = 3000 // lines of 300 bytes: more than a pipe and the log queue hold
	engines(t, func(t *testing.T, engine string) {
		for _, kind := range []string{"pipe", "full"} {
			t.Run(kind, func(t *testing.T) {
				var sink *os.File
				if kind == "full" {
					f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
					if err != nil {
						t.Skip(err)
					}
					sink = f
				} else {
					r, w, err := os.Pipe()
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close() // never read
					sink = w
				}
				defer sink.Close()
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				p := run(t, settings{engine: engine, backends: []string{b.Addr}}, logTo(sink))
				began := time.Now()
				for i := range many {
					c := p.dial()
					mustAsk(t, c, fmt.Sprint(i))
					c.Close()
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("%d connections took %v", many, took)
				}
				p.stop()
			})
		}
	})
}

// TestFaultKilled kills the working proxy with SIGKILL, and at once starts another on the same port
// and socket.
func TestFaultKilled(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		front := freeAddress(t, "127.0.0.1")
		s := settings{engine: engine, backends: []string{b.Addr}, binds: []string{front}}
		s.file(t) // names the socket
		for range 3 {
			p := run(t, s)
			for range 20 {
				for _, c := range []testnet.Conn{p.dial(), testnet.Dial(t, "tcp", front)} {
					if err := ask(c, "hello"); err != nil {
						t.Fatalf("%v\n%s", err, p.log())
					}
				}
			}
			if err := unix.Kill(p.cmd.Process.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-p.exited
			if _, err := os.Stat(p.socket); err != nil {
				t.Fatalf("the killed proxy leaves no socket behind: %v", err)
			}
		}
		p := run(t, s)
		c := p.dial()
		mustAsk(t, c, "hello")
		c.Close()
		p.stop()
	})
}
