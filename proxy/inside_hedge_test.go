package proxy

import (
	"net/netip"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
)

// startHedging runs a server with two backends: the first drops SYNs, the second is good. The hedge timer is too long to
// start a second dial by itself.
func startHedging(t *testing.T, engine string, change func(*Pool)) *inside {
	t.Helper()
	silent, good := testnet.Silent(t), testnet.Serve(t, "tcp", "", testnet.Echo)
	return startInside(t, engine, good, func(l *Listener, _ *Options) {
		p := l.Pool
		p.Backends = []*backend.Backend{
			{Address: silent, Pool: "back", Weight: 1},
			{Address: good.Addr, Pool: "back", Weight: 1, Index: 1},
		}
		p.Addrs = append([]*eventloop.Sockaddr{eventloop.InetSockaddr(netip.MustParseAddrPort(silent), 0)}, p.Addrs...)
		p.Attempts, p.Hedge, p.Hedges = 3, time.Hour, new(HedgeBudget)
		change(p)
		var err error
		if p.Balancer, err = balancer.New(p.Backends, balancer.Options{Policy: "first", Queue: 1}); err != nil {
			t.Fatal(err)
		}
	})
}

// inState finds the only connection of a worker that is in a state.
func (in *inside) inState(w *worker, state connState) (index uint32, c *conn) {
	in.t.Helper()
	in.eventually(w, "a connection is in the state", func() bool {
		for i := range w.connsEnd() {
			if w.conn(i).state == state {
				index, c = i, w.conn(i)
			}
		}
		return c != nil
	})
	return index, c
}

// TestNoSecondDialWhileClientIsWatched: a client leaves the queue, and its second dial is due before its watch has ended.
// The client could not move to the second dial's conn then.
func TestNoSecondDialWhileClientIsWatched(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startHedging(t, engine, func(p *Pool) {
			p.QueueTimeout = testnet.Patience
			for _, b := range p.Backends {
				b.MaxConnections = 1
			}
		})
		w, pool := in.server.workers[0], in.server.state.Listeners[0].Pool
		for range pool.Backends {
			pool.Balancer.Pick(balancer.Request{Now: Clock()})
		}
		c := testnet.Dial(t, "tcp", in.addr)
		index, waiting := in.inState(w, stateQueued)
		in.on(w, func() {
			w.leaveQueue(waiting)
			pool.Balancer.Done(pool.Backends[1], Clock())
			w.connect(index, waiting, pool.Backends[0])
			w.hedge(index, waiting)
		})
		in.eventually(w, "the watch has ended", func() bool { return !w.loop.Busy(slotOf(index, client)) })
		in.on(w, func() {
			if waiting.rival() == nil {
				w.hedge(index, waiting)
			}
		})
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Errorf("the client is not served: %v", err)
		}
		c.Close()
		in.ended(1, Outcome{SideClient, ReasonClosed})
	})
}

// TestAllEndWhileHedging ends all connections in slices. The conn of a second dial is in the first slice, its client's
// conn in the next one, and the second dial wins between the two.
func TestAllEndWhileHedging(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startHedging(t, engine, func(*Pool) {})
		w := in.server.workers[0]
		testnet.Dial(t, "tcp", in.addr)
		index, dialling := in.inState(w, stateDialling)
		in.on(w, func() {
			w.hedge(index, dialling)
			w.ending = Outcome{SideProxy, ReasonStopped}
			w.endOne(*dialling.rival())
		})
		in.ended(1, Outcome{SideProxy, ReasonStopped})
		in.eventually(w, "all have ended", func() bool { return in.server.Connections() == 0 })
	})
}
