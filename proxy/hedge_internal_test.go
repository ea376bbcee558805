package proxy

import (
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/testnet"
)

var hedgingOptions = balancer.Options{Policy: "first", Queue: 1}

// startHedging runs a server with two backends: the first drops SYNs, the second is good. A second
// dial is made after one second.
func startHedging(t *testing.T, engine string, change func(*Pool)) *inside {
	t.Helper()
	silent, good := testnet.Silent(t), testnet.Serve(t, "tcp", "", testnet.Echo)
	return startInside(t, engine, good, func(l *Listener, _ *Options) {
		l.Pool = insidePool(t, hedgingOptions, silent, good.Addr)
		l.Pool.Attempts, l.Pool.Hedge = 3, time.Second
		change(l.Pool)
	})
}

// TestSecondDialAfterTheQueue: a client leaves the queue for a backend that does not answer. The
// second dial serves it.
func TestSecondDialAfterTheQueue(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startHedging(t, engine, func(p *Pool) {
			p.QueueTimeout = testnet.Patience
			p.limited(t, 1, hedgingOptions)
		})
		w, pool := in.server.workers[0], in.listener().Pool
		for range pool.Balancer.Members() {
			pool.Balancer.Pick(balancer.Request{Now: in.clock.now.Load()})
		}
		c := testnet.Dial(t, "tcp", in.addr)
		in.inState(w, stateQueued)
		pool.Balancer.Done(pool.Balancer.Members()[0].Backend, in.clock.now.Load())
		in.inState(w, stateDialling)
		pool.Balancer.Done(pool.Balancer.Members()[1].Backend, in.clock.now.Load())
		in.pass(2 * pool.Hedge)
		echoes(t, c)
		c.Close()
		in.ended(1, SideClient, ReasonClosed)
		testnet.Eventually(t, "both backends are free", func() bool {
			return pool.Balancer.Members()[0].Active() == 0 && pool.Balancer.Members()[1].Active() == 0
		})
	})
}

// TestEndWhileHedging ends all connections, or stops the server, while a second dial is in flight,
// or has won and waits for the end of the first one. Neither dial is left, and the client has its
// record.
func TestEndWhileHedging(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		for name, due := range map[string]func(h *hedge) bool{
			"under way": func(*hedge) bool { return true },
			"has won":   func(h *hedge) bool { return h.won },
		} {
			t.Run(name, func(t *testing.T) {
				in := startHedging(t, engine, func(p *Pool) { p.Attempts = 3 })
				w, pool := in.server.workers[0], in.listener().Pool
				in.whileHedging(due, func() { w.endAll(Outcome{Side: SideProxy, Reason: ReasonStopped}) })
				in.ended(1, SideProxy, ReasonStopped)
				in.eventually(w, "no connection and no dial is left", func() bool {
					return in.server.Connections() == 0 && pool.Balancer.Members()[0].Active() == 0 && pool.Balancer.Members()[1].Active() == 0
				})
			})
			t.Run(name+" at a stop", func(t *testing.T) {
				in := startHedging(t, engine, func(p *Pool) { p.Attempts = 3 })
				stopped := make(chan struct{})
				in.whileHedging(due, func() { in.server.workers[0].loop.Quit(); close(stopped) })
				<-stopped
				in.stop()
				in.ended(1, SideProxy, ReasonStopped)
			})
		}
	})
}

// whileHedging has a client connect and a second backend dialled for it. It calls f on the loop
// when the second dial is as wanted.
func (in *inside) whileHedging(wanted func(*hedge) bool, f func()) {
	in.t.Helper()
	w := in.server.workers[0]
	testnet.Dial(in.t, "tcp", in.addr)
	c := in.inState(w, stateDialling)
	in.on(w, func() {
		w.startHedge(c)
		h := c.hedge()
		var look func(*worker)
		look = func(w *worker) { // before each wait, until its time
			if wanted(h) {
				f()
				return
			}
			w.loop.Post(look)
		}
		look(w)
	})
}

// TestHedgeBudgetRefund makes dials between the payment for a second dial and its refund. The
// budget does not become negative.
func TestHedgeBudgetRefund(t *testing.T) {
	var budget HedgeBudget
	if !budget.spend() {
		t.Fatal("a new budget allows no second dial")
	}
	budget.earn()
	budget.earn()
	budget.refund()
	if n := budget.spent.Load(); n != 0 {
		t.Errorf("spent = %d, want 0", n)
	}
}
