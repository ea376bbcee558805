package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// limits are the two kinds of max_connections.
var limits = []struct {
	name string
	set  func(n int) func(*setup)
}{
	{"process", func(n int) func(*setup) { return func(s *setup) { s.options.MaxConnections = n } }},
	{"listener", func(n int) func(*setup) { return func(s *setup) { s.listener.Slots = proxy.NewSlots(int64(n)) } }},
}

// TestMaxConnections: there are more clients than slots. Those beyond the limit wait, and are
// served when others have left.
func TestMaxConnections(t *testing.T) {
	const most, many = 4, 100
	engines(t, func(t *testing.T, engine string) {
		for _, limit := range limits {
			t.Run(limit.name, func(t *testing.T) {
				var counted atomic.Pointer[backend.Backend]
				b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
					if n := counted.Load().Active(); n > most {
						t.Errorf("%d connections at once, want at most %d", n, most)
					}
					testnet.Echo(c)
				})
				r := start(t, engine, addresses(b), limit.set(most))
				counted.Store(r.pool.Balancer.Members()[0].Backend)
				var wg sync.WaitGroup
				for i := range many {
					wg.Go(func() {
						c, err := testnet.TryDial("tcp", r.addr)
						if err != nil {
							t.Error(err)
							return
						}
						message := fmt.Sprintf("client %d", i)
						if got, err := ask(c, message); err != nil || got != message {
							t.Errorf("echo of %q = %q, %v", message, got, err)
						}
						c.Close()
					})
				}
				wg.Wait()
				r.ended(many)
				if n := r.server.Connections(); n != 0 {
					t.Errorf("%d slots are taken when all have left", n)
				}
			})
		}
	})
}

// TestMaxConnectionsHolds: long connections take all slots. One more client waits until one of them
// ends.
func TestMaxConnectionsHolds(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, limit := range limits {
			t.Run(limit.name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(b), limit.set(3))
				var inside []testnet.Conn
				for range 3 {
					c := r.dial()
					mustAsk(t, c, "in")
					inside = append(inside, c)
				}
				var outside []testnet.Conn
				for range 5 {
					c := r.dial()
					io.WriteString(c, "let me in")
					outside = append(outside, c)
				}
				for _, c := range outside {
					if n, err := readWithin(c, shortly, make([]byte, 1)); n != 0 || err == io.EOF || testnet.IsReset(err) {
						t.Fatalf("a client beyond the limit reads %d bytes, %v", n, err)
					}
				}
				if b.Accepted() != 3 {
					t.Fatalf("%d connections to the backend, want 3", b.Accepted())
				}
				for _, c := range inside {
					c.Close()
				}
				// Each waiting client ends after it was served, and frees a slot for the next.
				var wg sync.WaitGroup
				for _, c := range outside {
					wg.Go(func() {
						defer c.Close()
						p := make([]byte, len("let me in"))
						if _, err := io.ReadFull(c, p); err != nil {
							t.Errorf("a client that waited: %v", err)
						}
					})
				}
				wg.Wait()
				r.ended(8)
			})
		}
	})
}

// TestMaxConnectionsOfOtherListener: one listener is full, and clients wait. The other listener is
// not held up.
func TestMaxConnectionsOfOtherListener(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) {
			s.options.Workers = 1
			s.listener.Slots = proxy.NewSlots(1)
			s.more = []*proxy.Listener{{Name: "other", Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}}}
			s.before = func(addr string) {
				for range 20 { // the first batch of accepts brings them all
					testnet.Dial(t, "tcp", addr)
				}
			}
		})
		other := r.server.Addrs()[1].Bind.Addr.String()
		for range 5 {
			c := testnet.Dial(t, "tcp", other)
			io.WriteString(c, "hello")
			if n, err := readWithin(c, testnet.Patience/4, make([]byte, 5)); n != 5 {
				t.Fatalf("a client of the listener that has room reads %d bytes, %v", n, err)
			}
			c.Close()
		}
	})
}

// TestMaxConnectionsDrain stops accepting while clients wait for a slot. The kernel has accepted
// them, so they are served.
func TestMaxConnectionsDrain(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, workers := range []int{1, 2} {
			for _, limit := range limits {
				t.Run(fmt.Sprintf("%s_%d", limit.name, workers), func(t *testing.T) {
					b := testnet.Serve(t, "tcp", "", testnet.Echo)
					release := make(chan struct{}) // until then, two clients hold all slots
					var clients []testnet.Conn
					r := start(t, engine, addresses(b), limit.set(2), func(s *setup) {
						s.options.Workers = workers
						s.before = func(addr string) {
							for range 12 { // the first batch of accepts brings them all
								clients = append(clients, testnet.Dial(t, "tcp", addr))
							}
						}
					})
					testnet.Eventually(t, "all slots are taken", func() bool { return b.Accepted() == 2 })
					var wg sync.WaitGroup
					for i, c := range clients {
						wg.Go(func() {
							defer c.Close()
							<-release
							message := fmt.Sprintf("client %d", i)
							if got, err := ask(c, message); err != nil || got != message {
								t.Errorf("a client that was in the queue: echo of %q = %q, %v", message, got, err)
							}
						})
					}
					left := make(chan int, 1)
					go func() { left <- r.server.Drain(context.Background(), testnet.Patience) }()
					testnet.Eventually(t, "the listener is closed", func() bool {
						c, err := testnet.TryDial("tcp", r.addr)
						if err == nil {
							// The kernel accepted it just before; it is served, and sends nothing.
							c.Close()
						}
						return err != nil
					})
					close(release)
					wg.Wait()
					if n := <-left; n != 0 {
						t.Errorf("%d connections had to be closed, want none", n)
					}
				})
			}
		}
	})
}
