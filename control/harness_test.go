package control

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/proxy"
)

// parse reads a configuration, which has to be valid.
func parse(t *testing.T, yaml string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("config.yaml", []byte(yaml), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// plan is the plan for a configuration, which must have one.
func plan(t *testing.T, cfg *config.Config, lookup Lookup) *Plan {
	t.Helper()
	p, err := Build(cfg, Gather(t.Context(), cfg, lookup))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stateOf is the State that a new Live makes of a plan.
func stateOf(t *testing.T, p *Plan) (state *proxy.State) {
	t.Helper()
	if err := NewLive(slog.New(slog.DiscardHandler)).Apply(p, func(s *proxy.State) error {
		state = s
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return state
}

// world is a Live whose data plane, servers and clock are a test's. Its time is that of a synctest
// bubble.
type world struct {
	t      *testing.T
	live   *Live
	lookup Lookup       // of the names in a configuration
	state  *proxy.State // the latest

	clockReads atomic.Int64
	hangs      atomic.Int64 // checks under way that hang

	mu        sync.Mutex
	log       bytes.Buffer
	broken    map[string]error // checked servers that fail, by address
	checked   map[string]int   // checks by address
	hanging   map[string]bool  // servers that answer no check
	hold      chan struct{}    // Evict waits for it, if it is set
	evictions []proxy.Evict
	listening []listening
	drained   []listening // calls of DrainListener
	gentle    []proxy.GentleEnd
	idle      map[*backend.Backend][]proxy.IdleConn
	ended     []proxy.IdleConn
}

// listening is a call of SetListening.
type listening struct {
	name string
	on   bool
}

// inWorld runs a test in a world in which a configuration is applied and Run runs.
func inWorld(t *testing.T, yaml string, test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, noNames, nil, yaml, test)
}

// inWorldWith is inWorld with names, and with a Directory that follows them; nil is none.
func inWorldWith(t *testing.T, lookup Lookup, d *discovery.Directory, yaml string, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, lookup: lookup, broken: make(map[string]error), checked: make(map[string]int), hanging: make(map[string]bool),
			idle: make(map[*backend.Backend][]proxy.IdleConn),
		}
		w.live = NewLive(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})))
		w.live.Directory = d
		start := time.Now()
		w.live.clock = func() int64 {
			w.clockReads.Add(1)
			return int64(time.Since(start))
		}
		w.apply(yaml)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.live.Run(ctx, w) })
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		test(t, w)
	})
}

// apply applies a configuration. Its checks ask the world's servers.
func (w *world) apply(yaml string) {
	w.t.Helper()
	p := plan(w.t, parse(w.t, yaml), w.lookup)
	for i := range p.Pools {
		if p.Pools[i].Checks != nil {
			p.Pools[i].Checks.Checker = w
		}
	}
	if err := w.live.Apply(p, func(s *proxy.State) error {
		w.state = s
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// pass lets time pass, until all goroutines have nothing left to do.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// pool is the pool of the first listener.
func (w *world) pool() *proxy.Pool { return w.state.Listeners[0].Pool }

func (w *world) backend(i int) *backend.Backend { return w.pool().Balancer.Members()[i].Backend }

// Check is the check of the world's servers.
func (w *world) Check(ctx context.Context, addr net.Addr, _ string) error {
	w.mu.Lock()
	w.checked[addr.String()]++
	err, hangs := w.broken[addr.String()], w.hanging[addr.String()]
	w.mu.Unlock()
	if hangs {
		w.hangs.Add(1)
		defer w.hangs.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// down breaks servers until the checks have found out, and up repairs them.
func (w *world) down(addresses ...string) {
	for _, a := range addresses {
		w.fail(a, errors.New("it hangs"))
	}
	w.pass(10 * time.Second)
}

func (w *world) up(addresses ...string) {
	for _, a := range addresses {
		w.fail(a, nil)
	}
	w.pass(10 * time.Second)
}

func (w *world) fail(address string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[address] = err
}

// hang makes a server leave its checks unanswered.
func (w *world) hang(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hanging[address] = true
}

// checks is the number of checks of a server.
func (w *world) checks(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.checked[address]
}

// Write receives the log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// logs returns the log, and empties it.
func (w *world) logs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.log.String()
	w.log.Reset()
	return text
}

// logged fails the test unless the log has all of these, and returns it.
func (w *world) logged(want ...string) string {
	w.t.Helper()
	text := w.logs()
	for _, line := range want {
		if !strings.Contains(text, line) {
			w.t.Errorf("the log lacks %s:\n%s", line, text)
		}
	}
	return text
}

func (w *world) Evict(e proxy.Evict) {
	if w.hold != nil {
		<-w.hold
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evictions = append(w.evictions, e)
}

// evicted returns the evictions since the last call.
func (w *world) evicted() []proxy.Evict {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.evictions
	w.evictions = nil
	return e
}

func (w *world) SetListening(l *proxy.Listener, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listening = append(w.listening, listening{l.Name, on})
}

func (w *world) DrainListener(name string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drained = append(w.drained, listening{name, on})
}

// drains returns the calls of DrainListener since the last call.
func (w *world) drains() []listening {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.drained
	w.drained = nil
	return d
}

func (w *world) EndGently(g proxy.GentleEnd) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gentle = append(w.gentle, g)
}

// endings returns the calls of EndGently since the last call.
func (w *world) endings() []proxy.GentleEnd {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.gentle
	w.gentle = nil
	return g
}

// listens returns the calls of SetListening since the last call.
func (w *world) listens() []listening {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.listening
	w.listening = nil
	return l
}

// Idle may return more than asked for: that is a bound for each loop.
func (w *world) Idle(b *backend.Backend, _ time.Duration, _ int) []proxy.IdleConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.idle[b])
}

func (w *world) EndIdle(i proxy.IdleConn, _ proxy.Reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, i)
}

// silent reports a client of a backend that waits for an answer since a second ago.
func (w *world) silent(b *backend.Backend) {
	then := w.live.clock() - int64(time.Second)
	w.pool().Balancer.Silent(b, balancer.Silence{Asked: then, Now: then})
}

// pick picks a backend for a client, which leaves at once.
func (w *world) pick() *backend.Backend {
	b, _ := w.pool().Balancer.Pick(balancer.Request{Now: w.live.clock()})
	if b != nil {
		w.pool().Balancer.Done(b, w.live.clock())
	}
	return b
}
