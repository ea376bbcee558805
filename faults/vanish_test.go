package faults

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestFaultPeerVanishes cuts a peer off without a FIN or a reset, on either side, while it is
// silent and while bytes are in flight to it. Keepalive and TCP_USER_TIMEOUT free the connection.
func TestFaultPeerVanishes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		for i, test := range []struct {
			name    string
			sending bool
			side    proxy.Side
		}{
			{"idle_client", false, proxy.SideClient},
			{"idle_backend", false, proxy.SideBackend},
			{"client_that_is_sent_to", true, proxy.SideClient},
			{"backend_that_is_sent_to", true, proxy.SideBackend},
		} {
			t.Run(test.name, func(t *testing.T) {
				// Each case has its own addresses, which are cut off for good.
				gone := netip.AddrFrom4([4]byte{127, 0, byte(len(engine)), byte(10 + i)}).String()
				back := "127.0.0.1"
				if test.side == proxy.SideBackend {
					back = gone
				}
				b := testnet.Listen(t, "tcp", back+":0")
				records := make(chan proxy.Record, 1)
				front := inProcess(t, engine, b.Addr, records)
				from := "127.0.0.1"
				if test.side == proxy.SideClient {
					from = gone
				}
				c := testnet.DialFrom(t, from, front)
				peer := b.Accept(t)
				stays, vanishes := c, peer
				if test.side == proxy.SideClient {
					stays, vanishes = peer, c
				}
				if _, err := stays.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(vanishes, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
				drop(t, "ip saddr "+gone)
				drop(t, "ip daddr "+gone)
				began := time.Now()
				if test.sending {
					if _, err := stays.Write([]byte("are you there?")); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := stays.Read(make([]byte, 1)); !testnet.IsReset(err) {
					t.Errorf("the side that is left reads %v, want a reset", err)
				}
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("found out after %v; keepalive is 1s + 1s, TCP_USER_TIMEOUT 2s", took)
				}
				select {
				case r := <-records:
					if r.Side != test.side || r.Reason != proxy.ReasonVanished {
						t.Errorf("outcome = %v %v, want %v vanished", r.Side, r.Reason, test.side)
					}
				case <-time.After(testnet.Patience):
					t.Error("no record")
				}
			})
		}
	})
}

// TestFaultManyPeersVanish cuts off many clients at once while bytes move both ways. Whichever
// operation gets the kernel's error first, each client is logged as vanished.
func TestFaultManyPeersVanish(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const clients = 60
	engines(t, func(t *testing.T, engine string) {
		gone := netip.AddrFrom4([4]byte{127, 1, byte(len(engine)), 1}).String()
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", func(c testnet.Conn) {
			go func() { _ = testnet.Stream(1).Send(c, 1<<40, 16384) }()
			_, _ = io.Copy(struct{ io.Writer }{io.Discard}, c)
		})
		records := make(chan proxy.Record, clients)
		front := inProcess(t, engine, b.Addr, records)
		var moving sync.WaitGroup
		for i := range clients {
			c := testnet.DialFrom(t, gone, front)
			moving.Add(1)
			started := sync.OnceFunc(moving.Done)
			go func() { // reads, and sends a little, or much, or nothing
				p := make([]byte, 32<<10)
				for {
					if _, err := c.Read(p); err != nil {
						return
					}
					started()
					if i%3 > 0 {
						if _, err := c.Write(p[:1+i%3*10000]); err != nil {
							return
						}
					}
				}
			}()
		}
		moving.Wait()
		drop(t, "ip saddr "+gone)
		drop(t, "ip daddr "+gone)
		// A client whose window was closed at the cut is closed only after minutes: a living peer
		// could pause that long.
		found, enough := 0, time.After(6*time.Second)
		for waiting := true; waiting && found < clients; {
			select {
			case r := <-records:
				found++
				if !r.Is(proxy.SideClient, proxy.ReasonVanished) {
					t.Errorf("outcome = %v %v, want client vanished", r.Side, r.Reason)
				}
			case <-enough:
				waiting = false
			}
		}
		if t.Logf("%s: %d of %d are found out", engine, found, clients); found == 0 {
			t.Error("no client is found out")
		}
	})
}

// TestFaultUploaderVanishes cuts off clients that upload to a backend that reads nothing. The proxy
// has no operation in flight towards them.
func TestFaultUploaderVanishes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const clients = 10
	engines(t, func(t *testing.T, engine string) {
		gone := netip.AddrFrom4([4]byte{127, 2, byte(len(engine)), 1}).String()
		b := testnet.Listen(t, "tcp", "127.0.0.1:0")
		records := make(chan proxy.Record, clients)
		front := inProcess(t, engine, b.Addr, records)
		var uploaders []testnet.Conn
		for range clients {
			c := testnet.DialFrom(t, gone, front)
			go func() { _ = testnet.Stream(1).Send(c, 1<<40, 65536) }()
			uploaders = append(uploaders, c)
			b.Accept(t)
		}
		for _, c := range uploaders {
			unchanged, last := 0, 0
			testnet.Eventually(t, "the upload stands still", func() bool {
				if now := testnet.Unacknowledged(t, c); now == 0 || now != last {
					unchanged, last = 0, now
				}
				unchanged++
				return unchanged > 50
			})
		}
		drop(t, "ip saddr "+gone)
		drop(t, "ip daddr "+gone)
		for range clients {
			select {
			case r := <-records:
				if !r.Is(proxy.SideClient, proxy.ReasonVanished) {
					t.Errorf("outcome = %v %v, want client vanished", r.Side, r.Reason)
				}
			case <-time.After(testnet.Patience):
				t.Fatal("no record")
			}
		}
	})
}

// inProcess runs a proxy with a short keepalive, which the configuration does not offer, and
// returns its address.
func inProcess(t *testing.T, engine, address string, records chan<- proxy.Record) string {
	t.Helper()
	addr := rawsys.InetSockaddr(netip.MustParseAddrPort(address), 0)
	members := []balancer.Member{{Backend: &backend.Backend{Address: address, Sockaddr: addr}, Weight: 1}}
	picks, err := balancer.New(members, balancer.Options{Policy: "least_conn"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := proxy.Listen(&proxy.State{Listeners: []*proxy.Listener{{
		Name:  "front",
		Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
		Pool: &proxy.Pool{
			Name: "back", Balancer: picks, ConnectTimeout: time.Second, Attempts: 1,
		},
	}}}, proxy.Options{
		Engine: engine, Workers: 1, Log: slog.New(slog.DiscardHandler),
		KeepAlive: proxy.KeepAlive{Idle: time.Second, Interval: time.Second, Timeout: 2 * time.Second},
		Finished:  func(r *proxy.Record) { records <- *r },
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(context.Background()) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server.Addrs()[0].Bind.Addr.String()
}
