package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// crowd connects n clients, each of which has sent a message and got it back.
func (r *running) crowd(n int) []testnet.Conn {
	r.t.Helper()
	var all []testnet.Conn
	for range n {
		c := r.dial()
		mustAsk(r.t, c, "hello")
		all = append(all, c)
	}
	return all
}

// TestEvict ends the connections of one backend: all of them, and no others.
func TestEvict(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name  string
			evict proxy.Evict
			isEnd func(error) bool
		}{
			{"close", proxy.Evict{}, func(err error) bool { return err == io.EOF }},
			{"reset", proxy.Evict{Reset: true}, testnet.IsReset},
			{"spread", proxy.Evict{Over: 300 * time.Millisecond}, func(err error) bool { return err == io.EOF }},
			{"later", proxy.Evict{After: 100 * time.Millisecond}, func(err error) bool { return err == io.EOF }},
		} {
			t.Run(test.name, func(t *testing.T) {
				b1, b2 := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(b1, b2), func(s *setup) { s.policy = "round_robin" })
				clients := r.crowd(20)
				e := test.evict
				e.Backend, e.Reason = r.pool.Balancer.Members()[0].Backend, proxy.ReasonBackendDown
				asked := time.Now()
				r.server.Evict(e)
				ended := r.ended(10)
				took := time.Since(asked)
				for _, record := range ended {
					r.expect(record, proxy.SideProxy, proxy.ReasonBackendDown, 5, 5)
					if record.Backend != e.Backend {
						t.Errorf("a connection of %s was ended", record.Backend.Address)
					}
				}
				if least := e.After + e.Over*9/10; took < least {
					t.Errorf("all were ended within %v, want %v", took, least)
				}
				for i, c := range clients {
					if i%2 == 1 {
						mustAsk(t, c, "spared")
					} else if _, err := c.Read(make([]byte, 1)); !test.isEnd(err) {
						t.Errorf("client %d reads %v", i, err)
					}
				}
			})
		}
	})
}

// TestEvictGivesUpDials: the dial to a backend that is down or removed is not answered yet. The
// client is served by the next backend at once, and not by this one later.
func TestEvictGivesUpDials(t *testing.T) {
	for _, reason := range []proxy.Reason{proxy.ReasonBackendDown, proxy.ReasonBackendRemoved} {
		t.Run(reason.String(), func(t *testing.T) {
			engines(t, func(t *testing.T, engine string) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, []string{testnet.Silent(t), b.Addr}, func(s *setup) {
					s.policy, s.timeout = "first", time.Minute
				})
				c := r.dial()
				silent := r.pool.Balancer.Members()[0].Backend
				testnet.Eventually(t, "it is dialled", func() bool { return silent.Active() == 1 })
				r.server.Evict(proxy.Evict{Backend: silent, Reason: reason})
				mustAsk(t, c, "hello")
			})
		})
	}
}

// TestEvictSpread checks that connections end evenly over the period, not in one moment.
func TestEvictSpread(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		r.crowd(40)
		r.server.Evict(proxy.Evict{Backend: r.pool.Balancer.Members()[0].Backend, Reason: proxy.ReasonBackendDown, Over: time.Second})
		records := r.ended(40)
		first, last := records[0], records[0]
		most := map[int]int{}
		for _, record := range records {
			end := record.Accepted + record.Duration
			if end < first.Accepted+first.Duration {
				first = record
			}
			if end > last.Accepted+last.Duration {
				last = record
			}
			most[int(end/(100*time.Millisecond))]++
		}
		if over := (last.Accepted + last.Duration) - (first.Accepted + first.Duration); over < 700*time.Millisecond {
			t.Errorf("all ended within %v of a second", over)
		}
		for _, n := range most {
			if n > 20 {
				t.Errorf("%d of 40 ended within a tenth of the time", n)
			}
		}
		t.Logf("all ended within %v; in each tenth of a second: %v", (last.Accepted+last.Duration)-(first.Accepted+first.Duration), most)
	})
}

// TestEvictCalledOff checks that no connection ends if the reason is gone when After is over, and
// that later connections are left alone.
func TestEvictCalledOff(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		asked := make(chan bool, 2)
		old := r.crowd(2)
		e := proxy.Evict{Backend: r.pool.Balancer.Members()[0].Backend, Reason: proxy.ReasonBackendDown, After: time.Millisecond}
		e.Unless = func() bool { asked <- true; return true }
		r.server.Evict(e)
		<-asked
		<-asked // each loop asks
		for _, c := range old {
			mustAsk(t, c, "still there")
		}
		e.Unless, e.After = nil, 200*time.Millisecond
		r.server.Evict(e)
		r.server.Idle(e.Backend, time.Hour, 0) // each loop has the request now
		old[0].Close()
		testnet.Eventually(t, "one has left", func() bool { return r.server.Connections() == 1 })
		young := r.crowd(5)
		testnet.Eventually(t, "the old one is ended", func() bool { return len(r.records.all()) == 2 })
		for _, c := range young {
			mustAsk(t, c, "came later")
		}
	})
}

// TestEndIdle finds the connections on which no byte moves, and ends one of them, unless a byte has
// moved since.
func TestEndIdle(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		clients := r.crowd(3)
		var idle []proxy.IdleConn
		testnet.Eventually(t, "all are idle", func() bool {
			idle = r.server.Idle(r.pool.Balancer.Members()[0].Backend, time.Millisecond, 100)
			return len(idle) == 3
		})
		if got := r.server.Idle(r.pool.Balancer.Members()[0].Backend, time.Hour, 100); len(got) != 0 {
			t.Errorf("%d connections are reported idle for an hour", len(got))
		}
		for _, c := range clients {
			mustAsk(t, c, "hello")
		}
		for _, i := range idle { // bytes have moved on the others
			r.server.EndIdle(i, proxy.ReasonRebalanced)
		}
		for _, c := range clients {
			mustAsk(t, c, "hello")
		}
		testnet.Eventually(t, "all are idle", func() bool {
			idle = r.server.Idle(r.pool.Balancer.Members()[0].Backend, time.Millisecond, 100)
			return len(idle) == 3
		})
		r.server.EndIdle(idle[0], proxy.ReasonRebalanced)
		r.endedOne(proxy.SideProxy, proxy.ReasonRebalanced, 15, 15)
	})
}

// TestEvictionIsNoCleanEnd: bytes of the backend arrive in the proxy's socket just before its
// connections are ended. Either they get through, or a reset shows the client that something is
// missing. A FIN would make the stream look complete.
func TestEvictionIsNoCleanEnd(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Workers = 1 })
		c := r.dial()
		peer := b.Accept(t)
		if _, err := io.WriteString(peer, "head"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		written := make(chan bool)
		asked := make(chan bool)
		r.server.Evict(proxy.Evict{
			Backend: r.pool.Balancer.Members()[0].Backend, Reason: proxy.ReasonBackendDown,
			Unless: func() bool { asked <- true; <-written; return false }, // on the loop: it cannot read meanwhile
		})
		<-asked
		if _, err := io.WriteString(peer, "tail"); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "the proxy's kernel has the bytes", func() bool { return testnet.Unacknowledged(t, peer) == 0 })
		written <- true
		if got, err := io.ReadAll(c); string(got) != "tail" && !testnet.IsReset(err) {
			t.Errorf("read %q and then %v: the client cannot know that %q is missing", got, err, "tail")
		}
	})
}

// TestEndIdleSparesARequest: a request arrives in the proxy's socket after its connection was found
// idle, and before it would be ended. The connection is no longer idle.
func TestEndIdleSparesARequest(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Workers = 1 })
		c := r.dial()
		mustAsk(t, c, "hello")
		var idle []proxy.IdleConn
		testnet.Eventually(t, "it is idle", func() bool {
			idle = r.server.Idle(r.pool.Balancer.Members()[0].Backend, 0, 100)
			return len(idle) == 1
		})
		// Two evictions that end nothing keep the loop busy. What is posted during the first is
		// read together with the second, before the loop looks at its sockets again.
		held, asked := make(chan bool), make(chan bool)
		hold := proxy.Evict{
			Backend: r.pool.Balancer.Members()[0].Backend, Reason: proxy.ReasonBackendDown,
			Unless: func() bool { asked <- true; <-held; return true },
		}
		r.server.Evict(hold)
		<-asked
		r.server.Evict(hold)
		r.server.EndIdle(idle[0], proxy.ReasonRebalanced)
		held <- true
		<-asked
		if _, err := io.WriteString(c, "again"); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "the proxy's kernel has the request", func() bool { return testnet.Unacknowledged(t, c) == 0 })
		held <- true
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Errorf("the answer is %q, %v", got, err)
		}
	})
}

// TestEvictionKeepsTheOutcome evicts a connection that its backend has already reset, while a slow
// client still reads what came before. The record names the side that ended it first.
func TestEvictionKeepsTheOutcome(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Workers = 1 })
		c := r.dial()
		peer := b.Accept(t)
		// More than the client reads.
		_ = peer.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		for block := make([]byte, 256<<10); ; {
			if _, err := peer.Write(block); err != nil {
				break
			}
		}
		if err := testnet.Reset(peer); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "x"); err != nil { // the proxy notices when it cannot pass this on
			t.Fatal(err)
		}
		testnet.Eventually(t, "the proxy has it", func() bool { return testnet.Unacknowledged(t, c) == 0 })
		r.server.Idle(r.pool.Balancer.Members()[0].Backend, 0, 100)
		r.server.Idle(r.pool.Balancer.Members()[0].Backend, 0, 100) // the loop has looked at its sockets since
		r.server.Evict(proxy.Evict{Backend: r.pool.Balancer.Members()[0].Backend, Reason: proxy.ReasonBackendDown})
		record := r.ended(1)[0]
		if record.Side != proxy.SideBackend || record.Reason != proxy.ReasonReset {
			t.Errorf("outcome = %v %v, want backend reset", record.Side, record.Reason)
		}
	})
}
