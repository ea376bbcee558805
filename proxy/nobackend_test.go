package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestNoBackendServes: all backends refuse, and the listener decides what happens to the client.
func TestNoBackendServes(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name string
			how  proxy.NoBackend
			want string
			end  func(error) bool
		}{
			{"close", proxy.CloseClient, "", func(err error) bool { return err == nil }},
			{"reset", proxy.ResetClient, "", testnet.IsReset},
			{"message", proxy.MessageClient, "come back later", func(err error) bool { return err == nil }},
		} {
			t.Run(test.name, func(t *testing.T) {
				r := start(t, engine, []string{testnet.Refusing(t)}, func(s *setup) {
					s.listener.NoBackend, s.listener.NoBackendMessage = test.how, []byte("come back later")
				})
				c, err := testnet.TryDial("tcp", r.addr)
				if test.how == proxy.ResetClient && testnet.IsReset(err) {
					return // the proxy was faster than the client
				}
				if err != nil {
					t.Fatal(err)
				}
				if test.how == proxy.MessageClient {
					_, _ = io.WriteString(c, "what the client says must not eat the message")
				}
				got, err := io.ReadAll(c)
				if string(got) != test.want || !test.end(err) {
					t.Errorf("read %q, %v", got, err)
				}
				c.Close()
				r.endedOne(proxy.SideBackend, proxy.ReasonConnectRefused, 0, 0)
				testnet.Eventually(t, "no connection is left", func() bool { return r.server.Connections() == 0 })
			})
		}
	})
}

// TestUnlisten closes a listener and reopens it. A connection continues meanwhile.
func TestUnlisten(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		old := r.dial()
		mustAsk(t, old, "hello")
		listener := r.state.Listeners[0]
		for range 3 {
			r.server.SetListening(listener, false)
			testnet.Eventually(t, "clients are refused", func() bool {
				c, err := testnet.TryDial("tcp", r.addr)
				if err == nil {
					c.Close()
				}
				return err != nil
			})
			mustAsk(t, old, "still there")
			later := *listener // in another State
			r.server.SetListening(&later, true)
			testnet.Eventually(t, "clients are served again", func() bool {
				c, err := testnet.TryDial("tcp", r.addr)
				if err != nil {
					return false
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(testnet.Patience))
				if _, err := io.WriteString(c, "hello"); err != nil {
					return false
				}
				_, err = io.ReadFull(c, make([]byte, 5))
				return err == nil
			})
		}
		// On and off at once, while accepts are being cancelled.
		for range 100 {
			r.server.SetListening(listener, false)
			r.server.SetListening(listener, true)
		}
		r.server.Idle(r.pool.Balancer.Members()[0].Backend, 0, 100) // the loops have read all that
		for range 20 {
			mustAsk(t, r.dial(), "hello")
		}
		mustAsk(t, old, "and still")
		r.server.SetListening(listener, false)
	})
}

// TestSilentConnections: a backend accepts connections and sends nothing. It is ejected when too
// many of them fail in a row, and only for failures that it is to blame for.
func TestSilentConnections(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name   string
			handle func(testnet.Conn)
			client func(t *testing.T, c testnet.Conn)
			eject  bool
		}{
			{"closes_unasked", func(testnet.Conn) {}, func(*testing.T, testnet.Conn) {}, true},
			{"closes_when_asked", func(c testnet.Conn) { _, _ = c.Read(make([]byte, 64)) }, asks, true},
			{"resets", func(c testnet.Conn) { _, _ = c.Read(make([]byte, 64)); _ = testnet.Reset(c) }, asks, true},
			{"answers", testnet.Echo, func(t *testing.T, c testnet.Conn) { mustAsk(t, c, "hello"); c.Close() }, false},
			{"client_leaves_unserved", func(c testnet.Conn) { _, _ = io.Copy(io.Discard, c) },
				func(_ *testing.T, c testnet.Conn) { c.Close() }, false},
			{"client_only_sends", func(c testnet.Conn) { _, _ = io.Copy(io.Discard, c) },
				func(t *testing.T, c testnet.Conn) { asks(t, c); _ = c.CloseWrite() }, false},
		} {
			t.Run(test.name, func(t *testing.T) {
				events := make(chan balancer.Event, 16)
				bad := testnet.Serve(t, "tcp", "", test.handle)
				good := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(bad, good), func(s *setup) {
					s.policy, s.observe = "first", func(e balancer.Event) { events <- e }
					s.balance = func(o *balancer.Options) {
						o.Outlier = &balancer.Outlier{Failures: 3, Eject: time.Minute, MaxEjected: 50}
					}
				})
				for i := range 3 {
					c := r.dial()
					testnet.Eventually(t, "it is served", func() bool { return bad.Accepted() > i })
					test.client(t, c)
					_, _ = io.Copy(io.Discard, c)
					c.Close()
					testnet.Eventually(t, "it has ended", func() bool { return len(r.records.all()) == i+1 })
				}
				if got := r.pool.Balancer.Members()[0].Ejected(); got != test.eject {
					t.Fatalf("ejected = %v", got)
				}
				if !test.eject {
					return
				}
				if e := <-events; e.Kind != balancer.Ejected || e.Backend != r.pool.Balancer.Members()[0].Backend || e.Count != 3 {
					t.Errorf("told of %+v", e)
				}
				mustAsk(t, r.dial(), "somebody else answers")
			})
		}
	})
}

// TestClientsGiveUp: clients of three addresses send a request, get no answer for a second, and
// reset their connections.
func TestClientsGiveUp(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		hangs := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { _, _ = io.Copy(io.Discard, c) })
		other := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(hangs, other), func(s *setup) {
			s.policy = "first"
			s.balance = func(o *balancer.Options) {
				o.Outlier = &balancer.Outlier{Failures: 3, Eject: time.Minute, MaxEjected: 50}
			}
		})
		var clients []testnet.Conn
		for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
			c := testnet.DialFrom(t, from, r.addr)
			asks(t, c)
			clients = append(clients, c)
		}
		if n, err := readWithin(clients[2], 1100*time.Millisecond, make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes", n)
		}
		for _, c := range clients {
			_ = testnet.Reset(c)
		}
		testnet.Eventually(t, "their failures are counted", func() bool { return len(r.records.all()) == len(clients) })
		later := testnet.DialFrom(t, "127.0.0.4", r.addr) // one that comes after them decides
		asks(t, later)
		if n, err := readWithin(later, 1100*time.Millisecond, make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes", n)
		}
		_ = testnet.Reset(later)
		testnet.Eventually(t, "the backend that hangs is ejected", func() bool { return r.pool.Balancer.Members()[0].Ejected() })
		mustAsk(t, r.dial(), "somebody else answers")
	})
}

func asks(t *testing.T, c testnet.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "is a backend there?"); err != nil {
		t.Fatal(err)
	}
}

// TestHealthDecides: a backend that is down gets no clients. When it is up again, it does.
func TestHealthDecides(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b1, b2 := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b1, b2))
		down := r.pool.Balancer.Members()[0].Backend
		r.pool.Balancer.SetHealth(down, backend.HealthDown, rawsys.Monotonic())
		for range 10 {
			mustAsk(t, r.dial(), "hello")
		}
		if b1.Accepted() != 0 {
			t.Errorf("%d clients went to a backend that is down", b1.Accepted())
		}
		r.pool.Balancer.SetHealth(down, backend.HealthUp, rawsys.Monotonic())
		for range 10 {
			mustAsk(t, r.dial(), "hello")
		}
		if b1.Accepted() != 10 { // it had no connections, the other ten
			t.Errorf("%d of the next 10 clients went to the backend that is back", b1.Accepted())
		}
	})
}

// TestClientsCannotEject: a client sends a byte and resets the connection at once, repeatedly. It
// has not waited for an answer, so the backend, which answers all clients that do wait, is not to
// blame.
func TestClientsCannotEject(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		answer := make(chan struct{})
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			<-answer // a slow answer
			testnet.Echo(c)
		})
		other := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b, other), func(s *setup) {
			s.policy = "first"
			s.balance = func(o *balancer.Options) {
				o.Outlier = &balancer.Outlier{Failures: 5, Eject: time.Minute, MaxEjected: 50}
			}
		})
		for i := range 5 {
			c := r.dial()
			if _, err := io.WriteString(c, "x"); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, "it is served", func() bool { return b.Accepted() == i+1 })
			_ = testnet.Reset(c)
		}
		r.ended(5)
		if r.pool.Balancer.Members()[0].Ejected() {
			t.Error("five resets by one client have ejected the backend for all clients")
		}
		close(answer)
		mustAsk(t, r.dial(), "hello")
	})
}

// TestPoolWithoutBackends: a pool has no backend from the start, and each client ends as its
// listener says.
func TestPoolWithoutBackends(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, policy := range []string{"least_conn", "maglev"} {
			r := start(t, engine, nil, func(s *setup) {
				s.policy = policy
				s.listener.NoBackend, s.listener.NoBackendMessage = proxy.MessageClient, []byte("nobody")
			})
			c := r.dial()
			if got, err := io.ReadAll(c); string(got) != "nobody" || err != nil {
				t.Errorf("a client reads %q, %v", got, err)
			}
			c.Close()
			r.endedOne(proxy.SideProxy, proxy.ReasonNoBackend, 0, 0)
			r = start(t, engine, nil, func(s *setup) {
				s.policy = policy
				s.listener.NoBackend = proxy.QueueClient
				s.balance = func(o *balancer.Options) { o.Queue = 1 }
				s.pooled = func(p *proxy.Pool) { p.QueueTimeout = 50 * time.Millisecond }
			})
			c = r.dial()
			if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
				t.Errorf("a client in the queue reads %q, %v", got, err)
			}
			c.Close()
			r.endedOne(proxy.SideProxy, proxy.ReasonQueueTimeout, 0, 0)
		}
	})
}
