package proxy_test

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestRefusingBackend: the first backend refuses. No client notices, and the backend gets no
// clients afterwards.
func TestRefusingBackend(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Refusing(t), good.Addr})
		began := time.Now()
		const many = 200
		for range many {
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
		}
		failed := 0
		for _, record := range r.ended(many) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, 5, 5)
			if record.Backend != r.pool.Balancer.Members()[1].Backend {
				t.Errorf("served by %s", record.Backend.Address)
			}
			failed += record.Attempts - 1
		}
		// After the first refusal it is in backoff for a second, and then probed by one connection.
		if most := 1 + int(time.Since(began)/time.Second); failed < 1 || failed > most {
			t.Errorf("%d of %d clients were sent to the refusing backend first, want 1 to %d", failed, many, most)
		}
		if got := r.pool.Balancer.Members()[0].Active(); got != 0 {
			t.Errorf("%d connections are counted on the refusing backend", got)
		}
	})
}

// TestAllRefuse: no backend answers. No client waits, and no client is sent to the same backend
// twice.
func TestAllRefuse(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name               string
			backends, attempts int
			want               proxy.Outcome
			dials              int
		}{
			{"none", 0, 3, proxy.Outcome{Side: proxy.SideProxy, Reason: proxy.ReasonNoBackend}, 0},
			{"one", 1, 3, proxy.Outcome{Side: proxy.SideBackend, Reason: proxy.ReasonConnectRefused}, 1},
			{"fewer_than_attempts", 4, 10, proxy.Outcome{Side: proxy.SideBackend, Reason: proxy.ReasonConnectRefused}, 4},
			{"more_than_attempts", 5, 3, proxy.Outcome{Side: proxy.SideBackend, Reason: proxy.ReasonConnectRefused}, 3},
		} {
			t.Run(test.name, func(t *testing.T) {
				var backends []string
				for range test.backends {
					backends = append(backends, testnet.Refusing(t))
				}
				r := start(t, engine, backends, func(s *setup) { s.attempts = test.attempts })
				const clients = 3
				for i := range clients {
					c := r.dial()
					if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
						t.Errorf("client %d reads %d bytes, %v; want EOF", i, n, err)
					}
				}
				dials := 0
				for _, record := range r.ended(clients) {
					r.expect(record, test.want.Side, test.want.Reason, 0, 0)
					if record.Attempts != test.dials {
						t.Errorf("attempts = %d, want %d", record.Attempts, test.dials)
					}
					dials += record.Attempts
				}
				failed := 0
				for _, b := range r.pool.Balancer.Members() {
					_, n := b.Dials()
					if n > clients {
						t.Errorf("%d dials of one backend by %d clients", n, clients)
					}
					failed += int(n)
				}
				if failed != dials {
					t.Errorf("%d dials were counted as failed, %d were made", failed, dials)
				}
			})
		}
	})
}

// TestSilentBackend: a backend drops SYNs. What the client sends meanwhile is not lost.
func TestSilentBackend(t *testing.T) {
	const s, n = testnet.Stream(9), 500_000
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, []string{testnet.Silent(t), b.Addr}, func(s *setup) { s.timeout = 100 * time.Millisecond })
		began := time.Now()
		c := r.dial()
		go func() {
			_ = s.Send(c, n, 16385)
			_ = c.CloseWrite()
		}()
		peer := b.Accept(t)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the next backend was reached after %v", took)
		}
		if err := s.CheckExactly(peer, n, 65536); err != nil {
			t.Error(err)
		}
		peer.Close()
		record := r.endedOne(proxy.SideClient, proxy.ReasonClosed, n, 0)
		if record.Attempts != 2 || record.Backend != r.pool.Balancer.Members()[1].Backend {
			t.Errorf("attempts = %d, backend = %s", record.Attempts, record.Backend.Address)
		}
		if record.Connect <= 0 || record.Connect >= 100*time.Millisecond {
			t.Errorf("connect time = %v: it should be that of the dial that succeeded", record.Connect)
		}
		if record.Duration < 100*time.Millisecond {
			t.Errorf("duration = %v: it should count from accept", record.Duration)
		}
		// The silent backend is in backoff: the next client does not wait.
		if mark := time.Now(); time.Since(began) < 900*time.Millisecond {
			r.dial()
			b.Accept(t)
			if took := time.Since(mark); took > 90*time.Millisecond {
				t.Errorf("the next client waited %v", took)
			}
		}
	})
}

// TestAllSilent: every dial times out. The total time is bounded by attempts times the timeout.
func TestAllSilent(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		backends := []string{testnet.Silent(t), testnet.Silent(t), testnet.Silent(t)}
		r := start(t, engine, backends, func(s *setup) { s.timeout, s.attempts = 50*time.Millisecond, 2 })
		c := r.dial()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
		}
		record := r.endedOne(proxy.SideBackend, proxy.ReasonConnectTimeout, 0, 0)
		if record.Attempts != 2 || record.Connect != 0 {
			t.Errorf("attempts = %d, connect time = %v", record.Attempts, record.Connect)
		}
		if record.Duration < 100*time.Millisecond || record.Duration > 2*time.Second {
			t.Errorf("duration = %v, want twice 50ms", record.Duration)
		}
	})
}

// TestClientLeavesDuringDial: the client leaves while the backend is silent. Nothing of the
// connection is left.
func TestClientLeavesDuringDial(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, []string{testnet.Silent(t)}, func(s *setup) { s.timeout = 50 * time.Millisecond })
		for i := range 10 {
			c := r.dial()
			if i%2 == 0 {
				testnet.Reset(c)
			} else {
				c.Close()
			}
		}
		// A client that resets before the loop looks at it is not a connection yet (ECONNABORTED),
		// and makes no record.
		testnet.Eventually(t, "those that closed are recorded", func() bool { return len(r.records.all()) >= 5 })
		testnet.Eventually(t, "no connection left", func() bool { return r.server.Connections() == 0 })
		if got := r.pool.Balancer.Members()[0].Active(); got != 0 {
			t.Errorf("%d connections are counted on the backend", got)
		}
	})
}

// TestServerSpeaksFirst: the backend greets a client that sends nothing. No delayed acknowledgement
// may hold up the accept, the greeting or the end.
func TestServerSpeaksFirst(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { _, _ = io.WriteString(c, "220 ready") })
		r := start(t, engine, addresses(b))
		fastest := time.Hour
		for range 10 {
			began := time.Now()
			c := r.dial()
			if got, err := io.ReadAll(c); err != nil || string(got) != "220 ready" {
				t.Fatalf("greeting = %q, %v", got, err)
			}
			c.Close()
			fastest = min(fastest, time.Since(began))
		}
		if fastest > 30*time.Millisecond { // delayed acknowledgements take 40 to 200 ms
			t.Errorf("the fastest of 10 greetings took %v", fastest)
		}
	})
}

// TestRecord checks the record of a connection.
func TestRecord(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		c := r.dial()
		mustAsk(t, c, "0123456789")
		from := c.LocalAddr().String()
		c.Close()
		record := r.endedOne(proxy.SideClient, proxy.ReasonClosed, 10, 10)
		if record.Listener != r.state.Listeners[0] || record.Backend != r.pool.Balancer.Members()[0].Backend {
			t.Errorf("listener, backend = %v, %v", record.Listener, record.Backend)
		}
		if record.Client != netip.MustParseAddrPort(from) {
			t.Errorf("client = %v, want %v", record.Client, from)
		}
		if record.Rule != "" || record.Attempts != 1 {
			t.Errorf("rule, attempts = %q, %d", record.Rule, record.Attempts)
		}
		if record.Duration <= 0 || record.Connect <= 0 || record.Connect > record.Duration {
			t.Errorf("duration, connect time = %v, %v", record.Duration, record.Connect)
		}
		if record.RTT <= 0 || record.RTT > time.Second {
			t.Errorf("round-trip time = %v", record.RTT)
		}
	})
}
