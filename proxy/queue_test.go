package proxy_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// queueing gives each backend slots for most connections, and the pool a queue.
func queueing(most int32, size int, timeout time.Duration) func(*setup) {
	return func(s *setup) {
		s.balance = func(o *balancer.Options) { o.Queue = size }
		s.pooled = func(p *proxy.Pool) { p.QueueTimeout = timeout }
		s.members = func(m []balancer.Member) {
			for i := range m {
				m[i].MaxConnections = most
			}
		}
	}
}

func (r *running) waiting(n int) {
	r.t.Helper()
	testnet.Eventually(r.t, "clients wait", func() bool { return r.pool.Balancer.Stats().Waiting == n })
}

// TestQueue: clients wait for a slot on a full backend, and get one in the order in which they
// came.
func TestQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		served := r.dial()
		peer := b.Accept(t)
		var waiting []testnet.Conn
		for i := range 5 {
			c := r.dial()
			if _, err := c.Write([]byte{byte('0' + i)}); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
			r.waiting(i + 1)
		}
		served.Close()
		peer.Close()
		for i, c := range waiting {
			peer := b.Accept(t)
			got := make([]byte, 1)
			if _, err := io.ReadFull(peer, got); err != nil || got[0] != byte('0'+i) {
				t.Errorf("turn %d is that of client %q, %v", i, got, err)
			}
			if n := r.pool.Balancer.Members()[0].Active(); n > 1 {
				t.Errorf("%d connections on a backend that takes one", n)
			}
			c.Close()
			peer.Close()
		}
		for _, record := range r.ended(6) {
			if record.Reason != proxy.ReasonClosed {
				t.Errorf("ended with %v", record.Reason)
			}
		}
	})
}

// TestQueueBounds: there are more clients than the queue takes, and one client waits too long.
func TestQueueBounds(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 1, 300*time.Millisecond))
		r.dial()
		b.Accept(t)
		slow := r.dial()
		r.waiting(1)
		tooMany := r.dial()
		for name, c := range map[string]testnet.Conn{"one too many": tooMany, "the client that waited": slow} {
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%s reads %d bytes, %v", name, n, err)
			}
		}
		records := r.ended(2)
		r.expect(records[0], proxy.SideProxy, proxy.ReasonQueueFull, 0, 0)
		r.expect(records[1], proxy.SideProxy, proxy.ReasonQueueTimeout, 0, 0)
		if d := records[1].Duration; d < 300*time.Millisecond {
			t.Errorf("waited only %v", d)
		}
		r.waiting(0)
		if p := r.server.Counts().Pools[0]; p.Queued != 1 || p.QueueTimeouts != 1 || p.QueueRejected != 1 || p.Waits.Count() != 0 {
			t.Errorf("counted %+v", p)
		}
	})
}

// TestQueueLeft stops the proxy while clients wait.
func TestQueueLeft(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		r.dial()
		b.Accept(t)
		for range 3 {
			r.dial()
		}
		r.waiting(3)
		r.cancel()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		for _, record := range r.ended(4) {
			r.expect(record, proxy.SideProxy, proxy.ReasonStopped, 0, 0)
		}
		if n := r.pool.Balancer.Stats().Waiting; n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// TestQueueForAnyBackend: all backends refuse. The client waits until one of them is back, and what
// it has sent is not lost.
func TestQueueForAnyBackend(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		stopped := testnet.Listen(t, "tcp", "")
		address := stopped.Addr
		stopped.Close()
		r := start(t, engine, []string{address, testnet.Refusing(t)}, queueing(0, 10, testnet.Patience), func(s *setup) {
			s.listener.NoBackend = proxy.QueueClient
		})
		c := r.dial()
		if _, err := io.WriteString(c, "patience"); err != nil {
			t.Fatal(err)
		}
		r.waiting(1)
		b := testnet.Serve(t, "tcp", address, testnet.Echo)
		// A second after the backend was put in backoff, the waiting client is the probe.
		testnet.Eventually(t, "its turn comes", func() bool {
			r.pool.Balancer.Tick(rawsys.Monotonic())
			return b.Accepted() > 0
		})
		got := make([]byte, 8)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "patience" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// TestFullWithoutQueue: all backends are full, and no client waits.
func TestFullWithoutQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 0, 0))
		r.dial()
		b.Accept(t)
		c := r.dial()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read %d bytes, %v", n, err)
		}
		r.endedOne(proxy.SideProxy, proxy.ReasonNoBackend, 0, 0)
	})
}

// TestQueueIsNoBusyLoop: dials fail for a reason that says nothing about the backend (an address
// that cannot be reached from here; source ports that have run out or a local firewall would do the
// same). The client waits between its attempts, and not longer than the queue allows.
func TestQueueIsNoBusyLoop(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name     string
			most     int32
			attempts int
		}{{"unbounded", 0, 1}, {"bounded", 1, 1}, {"bounded_more_attempts", 1, 3}} {
			t.Run(test.name, func(t *testing.T) {
				const timeout = 300 * time.Millisecond
				r := start(t, engine, []string{"[fe80::1]:9"}, queueing(test.most, 10, timeout), func(s *setup) {
					s.listener.NoBackend, s.attempts, s.options.Workers = proxy.QueueClient, test.attempts, 1
				})
				done := make(chan struct{})
				go func() { // as the monitor does
					defer close(done)
					for ticker := time.Tick(20 * time.Millisecond); len(r.records.all()) < 2; <-ticker {
						r.pool.Balancer.Tick(rawsys.Monotonic())
						if t.Context().Err() != nil {
							return
						}
					}
				}()
				for range 2 {
					c := r.dial()
					_ = c.SetReadDeadline(time.Now().Add(10 * timeout))
					defer func() {
						if _, err := c.Read(make([]byte, 1)); err != io.EOF {
							t.Errorf("after ten times the queue's timeout: %v, want EOF", err)
						}
					}()
				}
				if !testnet.Within(10*timeout, func() bool { return len(r.records.all()) == 2 }) {
					t.Errorf("%d of 2 clients have been turned away after ten times the queue's timeout", len(r.records.all()))
					r.cancel() // ends them
				}
				<-done
				if n := r.pool.Balancer.Members()[0].Total(); n > 100 {
					t.Errorf("%d dials for two clients in %v", n, timeout)
				}
			})
		}
	})
}

// TestQueueCountsOneWait: a client that waits while its process is replaced, after a try that
// has failed, counts once, with the time of the whole wait.
func TestQueueCountsOneWait(t *testing.T) {
	enginePairs(t, func(t *testing.T, from, to string) {
		b := testnet.Listen(t, "tcp", "")
		one := start(t, from, addresses(b), queueing(1, 10, testnet.Patience))
		two := start(t, to, addresses(b), queueing(1, 10, testnet.Patience))
		first := one.dial()
		server := b.Accept(t)
		one.dial()
		one.waiting(1)
		one.listed(2, proxy.ConnFilter{OlderThan: 60 * time.Millisecond})
		if _, err := one.server.HandOver(t.Context(), func([]proxy.Moved) error { return errNoDelivery }); !errors.Is(err, errNoDelivery) {
			t.Fatal(err)
		}
		one.waiting(1)
		one.handOver(two)
		two.waiting(1)
		first.Close()
		server.Close()
		b.Accept(t)
		counts := [2]proxy.PoolCounts{one.server.Counts().Pools[0], two.server.Counts().Pools[0]}
		if counts[0].Queued != 1 || counts[1].Queued != 0 {
			t.Errorf("%d and %d clients are counted, want 1 and 0", counts[0].Queued, counts[1].Queued)
		}
		if w := counts[1].Waits; counts[0].Waits.Count() != 0 || w.Count() != 1 || time.Duration(w.Sum) < 50*time.Millisecond {
			t.Errorf("waits: %+v and %+v", counts[0].Waits, w)
		}
	})
}
