package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// inside is a server whose loops use a clock of the test and run functions of the test. If a defect
// depends on the order of two messages, or on how long nothing has happened, a test can cause that
// without waiting.
type inside struct {
	t      *testing.T
	server *Server
	addr   string // of the first bind
	clock  clock
	ran    chan error // what Run returned

	mu      sync.Mutex
	records []Record
}

// clock is stopped, except when a test moves it.
type clock struct{ now atomic.Int64 }

// clockStep is too short for a loop to take it for a pause of the process.
const clockStep = 40 * time.Millisecond

// pass moves the clock in steps, and lets the loops see each of them.
func (in *inside) pass(d time.Duration) {
	in.t.Helper()
	for ; d > 0; d -= clockStep {
		in.jump(min(d, clockStep))
	}
}

// jump moves the clock at once, as after a pause of the process.
func (in *inside) jump(d time.Duration) {
	in.t.Helper()
	in.clock.now.Add(int64(d))
	for range 3 { // a timer expires in the second batch after the wait that noticed the time
		for _, w := range in.server.workers {
			in.on(w, func() {})
		}
	}
}

// insideEngines runs a test with each engine, and checks that it leaves no descriptor open.
func insideEngines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			if _, _, err := eventloop.Probe(engine); err != nil {
				t.Skip(err)
			}
			testnet.SameFiles(t)
			test(t, engine)
		})
	}
}

// insideEnginesTogether is insideEngines for a test that mostly waits: it runs with both engines at
// the same time.
func insideEnginesTogether(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	testnet.SameFiles(t)
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if _, _, err := eventloop.Probe(engine); err != nil {
				t.Skip(err)
			}
			test(t, engine)
		})
	}
}

// insidePool is a pool of backends, in their order.
func insidePool(t *testing.T, o balancer.Options, addresses ...string) *Pool {
	t.Helper()
	p := &Pool{Name: "back", ConnectTimeout: testnet.Patience, Attempts: len(addresses), Hedges: new(HedgeBudget)}
	var members []balancer.Member
	for _, address := range addresses {
		b := &backend.Backend{Address: address, Sockaddr: rawsys.InetSockaddr(netip.MustParseAddrPort(address), 0)}
		members = append(members, balancer.Member{Backend: b, Weight: 1})
	}
	p.balanceOver(t, members, o)
	return p
}

// limited gives a pool a new balancer, whose members may have at most that many connections each.
func (p *Pool) limited(t *testing.T, most int32, o balancer.Options) {
	t.Helper()
	members := p.Balancer.Members()
	for i := range members {
		members[i].MaxConnections = most
	}
	p.balanceOver(t, members, o)
}

// balanceOver gives a pool a new balancer.
func (p *Pool) balanceOver(t *testing.T, members []balancer.Member, o balancer.Options) {
	t.Helper()
	var err error
	if p.Balancer, err = balancer.New(members, o); err != nil {
		t.Fatal(err)
	}
}

// startInside runs a server of one loop and one listener in front of b, unless change modifies
// that, until the end of the test.
func startInside(t *testing.T, engine string, b *testnet.Backend, change func(*Listener, *Options)) *inside {
	t.Helper()
	listener := &Listener{
		Name:  "front",
		Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
		Pool:  insidePool(t, balancer.Options{Policy: "least_conn"}, b.Addr),
		Slots: NewSlots(0),
	}
	in := &inside{t: t, ran: make(chan error, 1)}
	in.clock.now.Store(rawsys.Monotonic())
	options := Options{
		Engine: engine, Workers: 1, Log: slog.New(slog.DiscardHandler), Finished: in.finished, clock: in.clock.now.Load,
	}
	change(listener, &options)
	var err error
	if in.server, err = Listen(&State{Listeners: []*Listener{listener}}, options); err != nil {
		t.Fatal(err)
	}
	in.addr = strings.TrimPrefix(in.server.Addrs()[0].Bind.String(), "unix:")
	go func() { in.ran <- in.server.Run(context.Background()) }()
	t.Cleanup(in.stop)
	return in
}

// stop ends the server, which must leave nothing behind.
func (in *inside) stop() {
	in.t.Helper()
	in.server.Stop()
	select {
	case err := <-in.ran:
		in.ran <- err
		if err != nil {
			in.t.Errorf("Run: %v", err)
		}
	case <-time.After(testnet.Patience):
		in.t.Fatal("Run does not return")
	}
}

func (in *inside) finished(r *Record) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.records = append(in.records, *r)
}

func (in *inside) listener() *Listener { return in.server.serving().Listeners[0] }

// on runs f on a worker's loop. f must not end the test.
func (in *inside) on(w *worker, f func()) {
	in.t.Helper()
	done := make(chan struct{})
	w.loop.Post(func(*worker) { f(); close(done) })
	select {
	case <-done:
	case <-time.After(testnet.Patience):
		in.t.Fatal("the loop takes no messages")
	}
}

// eventually waits for a condition that is checked on a worker's loop.
func (in *inside) eventually(w *worker, what string, cond func() bool) {
	in.t.Helper()
	testnet.Eventually(in.t, what, func() (holds bool) {
		in.on(w, func() { holds = cond() })
		return holds
	})
}

// inState returns the only connection of a worker that is in a state, once there is one.
func (in *inside) inState(w *worker, state connState) (found *conn) {
	in.t.Helper()
	in.eventually(w, "a connection is in the state", func() bool {
		w.connections(func(c *conn) {
			if c.state == state {
				found = c
			}
		})
		return found != nil
	})
	return found
}

// relaying returns the only connection of a worker that is relaying, once there is one.
func (in *inside) relaying(w *worker) *conn { return in.inState(w, stateRelaying) }

// ended waits for n records and checks that each of them has the same outcome.
func (in *inside) ended(n int, side Side, reason Reason) {
	in.t.Helper()
	var records []Record
	testnet.Eventually(in.t, "the connections have ended", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		records = in.records
		return len(records) >= n
	})
	if len(records) > n {
		in.t.Errorf("%d connections have ended, not %d", len(records), n)
	}
	for _, r := range records {
		if !r.Is(side, reason) {
			in.t.Errorf("outcome = %v %v, want %v %v", r.Side, r.Reason, side, reason)
		}
	}
}

// full waits until the listening socket of the first loop waits for a slot. The clock is stopped,
// so that the socket does not look for one by itself.
func (in *inside) full() {
	in.t.Helper()
	w := in.server.workers[0]
	in.eventually(w, "the listener waits for a slot", func() bool {
		s := w.sockets[0]
		return s.state == listenFull && !w.loop.Busy(s.slot())
	})
}
