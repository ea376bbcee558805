package proxy_test

import (
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// hedging configures a second dial after d.
func hedging(d time.Duration) func(*setup) {
	return func(s *setup) {
		s.policy = "first" // so that the silent one is dialled first
		s.pooled = func(p *proxy.Pool) { p.Hedge = d }
	}
}

// TestHedgedDial: the first backend drops SYNs. The second one is dialled long before the timeout,
// serves, and gets all that the client has sent meanwhile. The first is in backoff.
func TestHedgedDial(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), good.Addr}, hedging(20*time.Millisecond))
		began := time.Now()
		c := r.dial()
		mustAsk(t, c, "sent while a backend is slow")
		if took := time.Since(began); took > testnet.Patience/2 {
			t.Errorf("served after %v", took)
		}
		c.Close()
		record := r.endedOne(proxy.SideClient, proxy.ReasonClosed, 28, 28)
		if record.Backend != r.pool.Balancer.Members()[1].Backend || record.Attempts != 2 {
			t.Errorf("served by %s with attempt %d", record.Backend.Address, record.Attempts)
		}
		if record.Duration < 20*time.Millisecond {
			t.Errorf("duration = %v: it counts from accept", record.Duration)
		}
		silent := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the dial that has lost is taken back", func() bool { return silent.Active() == 0 })
		if !silent.InBackoff() {
			t.Error("the silent backend is not in backoff")
		}
		if _, failed := silent.Dials(); failed != 1 {
			t.Errorf("%d failed dials of the silent backend, want 1", failed)
		}
		p := r.server.Counts().Pools[0]
		if p.Hedges != 1 || p.HedgesWon != 1 || p.Retries != 0 || p.DialTimes.Count() != 1 || p.Dials(proxy.ReasonConnectTimeout) != 1 {
			t.Errorf("counted %+v", p)
		}
		silent.FailedDials(func(why backend.DialFailure, n uint64) {
			if why != backend.DialTimeout || n != 1 {
				t.Errorf("%d dials of the silent backend failed with %v", n, why)
			}
		})
		// No client waits for it now.
		began = time.Now()
		mustAsk(t, r.dial(), "next")
		if took := time.Since(began); took > 20*time.Millisecond && good.Accepted() != 2 {
			t.Errorf("the next client waited %v", took)
		}
	})
}

// TestFirstDialWins: both backends answer, the first only after the second was dialled. One of them
// serves, the other is left without a connection, and nothing is counted twice.
func TestFirstDialWins(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b1, b2 := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b1, b2), hedging(time.Nanosecond))
		const many = 50
		for range many {
			c := r.dial()
			mustAsk(t, c, "hello")
			c.Close()
		}
		for _, record := range r.ended(many) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, 5, 5)
		}
		for _, b := range r.pool.Balancer.Members() {
			testnet.Eventually(t, "nothing is counted any more", func() bool { return b.Active() == 0 })
		}
	})
}

// TestHedgeInherits: the first dial fails while the second is in flight, and the other way round.
// The remaining dial continues.
func TestHedgeInherits(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for name, order := range map[string]func(silent, good string) []string{
			"second_refuses": func(silent, good string) []string { return []string{silent, testnet.Refusing(t), good} },
			"first_times_out": func(silent, good string) []string {
				return []string{silent, testnet.Silent(t), good}
			},
		} {
			t.Run(name, func(t *testing.T) {
				good := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, order(testnet.Silent(t), good.Addr), hedging(10*time.Millisecond),
					func(s *setup) { s.timeout = 60 * time.Millisecond })
				c := r.dial()
				mustAsk(t, c, "hello")
				c.Close()
				record := r.endedOne(proxy.SideClient, proxy.ReasonClosed, 5, 5)
				if record.Backend != r.pool.Balancer.Members()[2].Backend || record.Attempts != 3 {
					t.Errorf("served by %s with attempt %d", record.Backend.Address, record.Attempts)
				}
				for _, b := range r.pool.Balancer.Members() {
					testnet.Eventually(t, "nothing is counted any more", func() bool { return b.Active() == 0 })
				}
			})
		}
	})
}

// TestHedgeAllSilent: no backend answers. The client is ended after its attempts, and nothing is
// left.
func TestHedgeAllSilent(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, []string{testnet.Silent(t), testnet.Silent(t)}, hedging(10*time.Millisecond),
			func(s *setup) { s.timeout, s.attempts = 50*time.Millisecond, 2 })
		c := r.dial()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		record := r.endedOne(proxy.SideBackend, proxy.ReasonConnectTimeout, 0, 0)
		if record.Attempts != 2 {
			t.Errorf("%d attempts, want 2", record.Attempts)
		}
		for _, b := range r.pool.Balancer.Members() {
			if b.Active() != 0 {
				t.Errorf("%d connections counted on %s", b.Active(), b.Address)
			}
		}
	})
}

// TestHedgeStopped stops the proxy while two dials for one client are in flight.
func TestHedgeStopped(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, []string{testnet.Silent(t), testnet.Silent(t)}, hedging(time.Millisecond))
		r.dial()
		testnet.Eventually(t, "both are dialled", func() bool {
			return r.pool.Balancer.Members()[0].Active() == 1 && r.pool.Balancer.Members()[1].Active() == 1
		})
		r.cancel()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		r.endedOne(proxy.SideProxy, proxy.ReasonStopped, 0, 0)
	})
}

// TestHedgeBudget: every dial hangs. Second dials stay within the budget.
func TestHedgeBudget(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		// A backend is put in backoff only when its dial has timed out or lost. Both hang, so
		// neither does.
		r := start(t, engine, []string{testnet.Silent(t), testnet.Silent(t)}, hedging(time.Millisecond),
			func(s *setup) { s.attempts = 2 })
		const clients, budget = 150, 100
		for range clients {
			r.dial()
		}
		second := r.pool.Balancer.Members()[1].Backend
		testnet.Eventually(t, "the budget is spent", func() bool { return second.Active() >= budget })
		testnet.Eventually(t, "all are dialled", func() bool { return r.pool.Balancer.Members()[0].Active() == clients })
		if n := second.Active(); n > budget+clients/10 {
			t.Errorf("%d second dials of %d clients, with a budget of %d and a tenth", n, clients, budget)
		}
	})
}

// TestDialsAreNoHedges checks that a pool without hedging dials once.
func TestDialsAreNoHedges(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), good.Addr}, func(s *setup) {
			s.policy, s.timeout = "first", 60*time.Millisecond
			s.balance = func(o *balancer.Options) { o.Policy = "first" }
		})
		c := r.dial()
		mustAsk(t, c, "hello")
		c.Close()
		if record := r.ended(1)[0]; record.Attempts != 2 || record.Duration < 60*time.Millisecond {
			t.Errorf("attempts = %d, duration = %v: the second dial came before the end of the first", record.Attempts, record.Duration)
		}
	})
}

// TestHedgeBudgetIsForDials: dials are slow, and there is no other backend to dial. The budget that
// was not spent is there once there is another backend.
func TestHedgeBudgetIsForDials(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), good.Addr}, hedging(5*time.Millisecond),
			func(s *setup) { s.timeout = 2 * time.Second; s.attempts = 2 })
		b := r.pool.Balancer
		b.SetHealth(r.pool.Balancer.Members()[1].Backend, backend.HealthDown, rawsys.Monotonic())
		const clients = 150
		for range clients {
			r.dial()
		}
		first := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "all are dialled", func() bool { return first.Active() == clients })
		began := time.Now()
		testnet.Eventually(t, "all would have a second dial", func() bool { return time.Since(began) > 500*time.Millisecond })
		b.SetHealth(r.pool.Balancer.Members()[1].Backend, backend.HealthUp, rawsys.Monotonic())
		began = time.Now()
		c := r.dial()
		mustAsk(t, c, "hello")
		if took := time.Since(began); took > time.Second {
			t.Errorf("served after %v: there was no second dial", took)
		}
	})
}

// TestHedgesDoNotEject: several clients at once have dials of one backend that are slower than the
// second dials. The backend is put in backoff and probed after a second, but not ejected, since
// none of its connections has failed.
func TestHedgesDoNotEject(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), good.Addr}, hedging(30*time.Millisecond), func(s *setup) {
			s.options.Workers = 1
			s.balance = func(o *balancer.Options) {
				o.Outlier = &balancer.Outlier{Failures: 5, Eject: time.Minute, MaxEjected: 50}
			}
		})
		var clients []testnet.Conn
		for range 5 {
			clients = append(clients, r.dial())
		}
		for _, c := range clients {
			mustAsk(t, c, "hello")
		}
		slow := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the dials that have lost are taken back", func() bool { return slow.Active() == 0 })
		if !slow.InBackoff() {
			t.Error("the slow backend is not in backoff")
		}
		if slow.Ejected() {
			t.Error("it is ejected for a minute because five dials took longer than 30 ms")
		}
	})
}

// TestHedgeStaysInItsTier: one connect to the only backend of the first tier is slow. That is no
// reason to serve this client, or the next ones, from the backups.
func TestHedgeStaysInItsTier(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		backup := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), backup.Addr}, hedging(10*time.Millisecond), func(s *setup) {
			s.members = func(m []balancer.Member) { m[1].Priority = 10 }
			s.timeout = 300 * time.Millisecond
		})
		c := r.dial()
		began := time.Now()
		mustAsk(t, c, "hello") // after the timeout
		if took := time.Since(began); took < 250*time.Millisecond {
			t.Errorf("the backup serves after %v, while the first tier may still answer", took)
		}
	})
}

// TestHedgesAndQueue: there are more clients than slots, and half of the first dials hang. All
// clients are served, by second dials and in turn, and no connection stays counted.
func TestHedgesAndQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		const clients, places = 40, 3
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, []string{testnet.Silent(t), good.Addr}, queueing(places, clients, testnet.Patience),
			func(s *setup) {
				queue := s.pooled
				s.pooled = func(p *proxy.Pool) { queue(p); p.Hedge = 5 * time.Millisecond }
				s.timeout = 200 * time.Millisecond
			})
		var all []testnet.Conn
		for range clients {
			all = append(all, r.dial())
		}
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				if got, err := ask(c, "hello"); err != nil || got != "hello" {
					t.Errorf("echo = %q, %v", got, err)
				}
				c.Close()
			})
		}
		wg.Wait()
		for _, record := range r.ended(clients) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, 5, 5)
		}
		for _, b := range r.pool.Balancer.Members() {
			testnet.Eventually(t, "nothing is counted any more", func() bool { return b.Active() == 0 })
		}
		if n := r.pool.Balancer.Stats().Waiting; n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}
