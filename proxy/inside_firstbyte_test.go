package proxy

import (
	"net/netip"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/testnet"
)

// TestSilent: who waits for a first byte for too long, and who does not.
func TestSilent(t *testing.T) {
	const now, limit = int64(time.Hour), int64(time.Second)
	for name, tt := range map[string]struct {
		change func(*conn)
		want   bool
	}{
		"asked":                     {func(*conn) {}, true},
		"a moment before":           {func(c *conn) { c.lastActive++ }, false},
		"nothing asked":             {func(c *conn) { c.flow[client].bytes = 0 }, false},
		"still sending":             {func(c *conn) { c.lastActive = now - limit/2 }, false},
		"closed its side and waits": {func(c *conn) { c.flow[client].ended, c.flags = flowFIN, flagHalfClosed }, true},
		"backend has ended":         {func(c *conn) { c.flow[server].ended = flowFIN }, false},
		"not asked for":             {func(c *conn) { c.listener.Pool.FirstByte = 0 }, false},
	} {
		c := &conn{listener: &Listener{Pool: &Pool{FirstByte: time.Duration(limit)}}, lastActive: now - limit}
		c.flow[client].bytes = 1
		tt.change(c)
		if got := c.silent(now - c.lastActive); got != tt.want {
			t.Errorf("%s: silent = %v", name, got)
		}
	}
}

// TestLookEvery: an eighth of the shortest time that any pool gives, within bounds.
func TestLookEvery(t *testing.T) {
	for _, tt := range []struct {
		pools []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{0, 0}, 0},
		{[]time.Duration{0, 2 * time.Second, 800 * time.Millisecond}, 100 * time.Millisecond},
		{[]time.Duration{time.Millisecond}, minLookEvery},
		{[]time.Duration{time.Hour}, maxLookEvery},
	} {
		s := &State{}
		for _, d := range tt.pools {
			s.Listeners = append(s.Listeners, &Listener{Pool: &Pool{FirstByte: d}})
		}
		if got := s.lookEvery(); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.pools, got, tt.want)
		}
	}
}

// ejecting is a listener whose backend is ejected after so many failures, and none of whose looks comes by itself.
func ejecting(t *testing.T, failures int) func(*Listener, *Options) {
	return func(l *Listener, _ *Options) {
		l.Pool.FirstByte = time.Hour
		full := l.Pool.Backends[0] // no other client can be sent there before it is ejected
		full.MaxConnections = 1
		full.Acquire()
		o := balancer.Options{
			Policy:  "least_conn",
			Outlier: &balancer.Outlier{Failures: failures, Eject: time.Hour, MaxEjected: 100},
		}
		var err error
		if l.Pool.Balancer, err = balancer.New(l.Pool.Backends, o); err != nil {
			t.Fatal(err)
		}
	}
}

// looking runs a test on a loop whose looks it makes itself. waiting adds a connection on which nothing has moved for
// two hours, and look makes a look that is so much too late.
func looking(t *testing.T, failures int,
	test func(t *testing.T, w *worker, b *backend.Backend, waiting func(asked uint64), look func(late time.Duration))) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startInside(t, engine, testnet.Listen(t, "tcp", ""), ejecting(t, failures))
		w, l := in.server.workers[0], in.server.state.Listeners[0]
		b := l.Pool.Backends[0]
		in.on(w, func() {
			now := w.loop.Now()
			w.firstBytes.awake = now - int64(2*time.Hour)
			watch, _ := w.takeConn()
			taken := []uint32{watch}
			waiting := func(asked uint64) {
				index, c := w.takeConn()
				taken = append(taken, index)
				c.state, c.listener, c.backend = stateRelaying, l, b
				c.peer = clientAt(len(taken))
				c.flow[client].bytes, c.lastActive = asked, now-int64(2*time.Hour)
			}
			look := func(late time.Duration) {
				w.firstBytes.due = now - int64(late)
				w.look(watch)
			}
			test(t, w, b, waiting, look)
			w.loop.StopTimer(watch)
			for _, index := range taken {
				w.freeConn(index, w.conn(index))
			}
		})
	})
}

// clientAt is the address of one of a few clients.
func clientAt(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), 1)
}

// TestLooksCountOnce looks again and again at the same connection, and at one whose client says nothing.
func TestLooksCountOnce(t *testing.T) {
	looking(t, 2, func(t *testing.T, _ *worker, b *backend.Backend, waiting func(uint64), look func(time.Duration)) {
		waiting(0)
		look(0)
		if b.Suspect() {
			t.Error("a client that says nothing counts as one that waits")
		}
		waiting(1)
		for range 3 {
			look(0)
		}
		if !b.Suspect() || b.Ejected() {
			t.Error("one client that waits is not one failure")
		}
		waiting(1)
		look(0)
		if !b.Ejected() {
			t.Error("not ejected after two failures")
		}
	})
}

// TestSilentClientsOfBusyBackend: 40 clients wait and then give up. If the backend answers others meanwhile, it is not
// blamed for any of them. If it has only answered before they asked, it is blamed.
func TestSilentClientsOfBusyBackend(t *testing.T) {
	looking(t, 2, func(t *testing.T, w *worker, b *backend.Backend, waiting func(uint64), look func(time.Duration)) {
		ask := w.loop.Now() - int64(2*time.Hour) // see looking
		for range 40 {
			waiting(1)
		}
		b.Answered(ask + int64(time.Second))
		for range 3 {
			look(0)
		}
		for i := range w.connsEnd() {
			if c := w.conn(i); c.state == stateRelaying {
				gone := *c
				gone.connected, gone.outcome = ask, Outcome{SideClient, ReasonReset}
				w.blame(&gone)
			}
		}
		if b.Suspect() || b.Ejected() {
			t.Error("a backend that answers is blamed for clients that wait")
		}
		*b = backend.Backend{Address: b.Address, Pool: b.Pool, Weight: 1, MaxConnections: 1}
		b.Acquire() // full, as in ejecting
		b.Answered(ask - int64(time.Second))
		look(0)
		if !b.Ejected() {
			t.Error("not ejected for clients that asked after its last answer")
		}
	})
}

// TestOneClientWaitsOften: 40 waiting connections of one client are one failure per look.
func TestOneClientWaitsOften(t *testing.T) {
	looking(t, 2, func(t *testing.T, w *worker, b *backend.Backend, waiting func(uint64), look func(time.Duration)) {
		for range 40 {
			waiting(1)
		}
		for i := range w.connsEnd() {
			w.conn(i).peer = clientAt(1)
		}
		look(0)
		if !b.Suspect() || b.Ejected() {
			t.Error("40 connections of one client are not one failure")
		}
	})
}

// TestLateLook has a look come far too late, as on a machine that stood still: the time before it is not held against
// a backend, and the time after it is.
func TestLateLook(t *testing.T) {
	looking(t, 1, func(t *testing.T, w *worker, b *backend.Backend, waiting func(uint64), look func(time.Duration)) {
		waiting(1)
		look(time.Minute)
		if b.Suspect() || b.Ejected() {
			t.Error("a backend is blamed for a time in which the proxy stood still")
		}
		w.firstBytes.awake -= int64(time.Hour) // it has passed since
		look(0)
		if !b.Ejected() {
			t.Error("a backend is not blamed for the time after it")
		}
	})
}

// TestBlamedOnce ends connections whose client has given up: those of which the balancer knows are not told of again.
func TestBlamedOnce(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startInside(t, engine, testnet.Listen(t, "tcp", ""), ejecting(t, 2))
		w, l := in.server.workers[0], in.server.state.Listeners[0]
		b := l.Pool.Backends[0]
		clients := 0
		gaveUp := func(flags connFlags) {
			clients++
			c := &conn{listener: l, backend: b, connected: 1, flags: flags, outcome: Outcome{SideClient, ReasonReset}, peer: clientAt(clients)}
			c.lastActive = w.loop.Now() - int64(time.Minute)
			c.flow[client].bytes = 1
			w.blame(c)
		}
		in.on(w, func() {
			gaveUp(0)
			gaveUp(flagBlamed)
			if !b.Suspect() || b.Ejected() {
				t.Error("one failure of two is not what is counted")
			}
			gaveUp(0)
			if !b.Ejected() {
				t.Error("not ejected after two failures")
			}
		})
	})
}

// BenchmarkFirstByteLook looks over 10,000 connections, all of which have had their first byte.
func BenchmarkFirstByteLook(b *testing.B) {
	const many = 10_000
	l := &Listener{Pool: &Pool{FirstByte: time.Second}}
	w := &worker{server: &Server{state: &State{Listeners: []*Listener{l}}}}
	for range many {
		_, c := w.takeConn()
		c.state, c.listener, c.flags = stateRelaying, l, flagAnswered
	}
	for b.Loop() {
		w.blameSilent(0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/connection")
}
