package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/health"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// churnPlans are applied in a row. With the pauses between them, that takes about half a second.
const churnPlans = 200

// TestChurn applies random plans and updates of endpoints, while clients come and go, checks fail
// and pass, and Run runs. At the end everything has been given back and has stopped, and each
// listener listens if its pool can serve. Random pauses vary the order of events; no result depends
// on their length.
func TestChurn(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	c := &churn{live: NewLive(slog.New(slog.DiscardHandler)), backends: make(map[*backend.Backend]bool), closed: make(map[string]bool), drained: make(map[string]bool)}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(1, seed))
	c.apply(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	var running, clients sync.WaitGroup
	running.Go(func() { c.live.Run(ctx, c) })
	over := make(chan struct{})
	for i := range 4 {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for {
				select {
				case <-over:
					return
				default:
					c.client(r)
				}
			}
		})
	}
	for range churnPlans {
		c.apply(t, r)
		c.operate(r)
		c.update(t, r)
		time.Sleep(time.Duration(r.IntN(int(5 * time.Millisecond))))
	}
	close(over)
	clients.Wait()
	for range 8 { // one plan may have no listener that follows a checked pool
		c.apply(t, r)
		c.checks.Store(allFail)
		c.settles(t, "all checks fail")
		c.checks.Store(allPass)
		c.settles(t, "all checks pass")
	}
	for b := range c.backends {
		if n := b.Active(); n != 0 {
			t.Errorf("%s still has %d connections", b.Address, n)
		}
	}
	empty := new(Plan)
	if err := c.live.Apply(empty, func(*proxy.State) error { return nil }); err != nil {
		t.Error(err)
	}
	testnet.Eventually(t, "without any pool, only Run's goroutine and the Monitor's are left", func() bool {
		return runtime.NumGoroutine() <= goroutines+2
	})
	var late sync.WaitGroup // plans that come while Run ends
	late.Go(func() {
		for range 100 {
			c.apply(t, r)
		}
	})
	time.Sleep(time.Duration(rand.IntN(int(20 * time.Millisecond))))
	cancel()
	running.Wait()
	late.Wait()
}

// churn is the data plane and the checker of TestChurn.
type churn struct {
	live    *Live
	state   atomic.Pointer[proxy.State]
	checks  atomic.Int32 // someFail, allFail or allPass
	updates uint64       // that were made

	mu       sync.Mutex
	backends map[*backend.Backend]bool // that were ever in a plan
	closed   map[string]bool           // by listener
	drained  map[string]bool           // the same
	follows  map[string]bool           // the latest plan's
	checked  map[string]bool           // the latest plan's pools
}

// What the checks of TestChurn find.
const (
	someFail = iota // at random; some take until their timeout
	allFail
	allPass
)

// apply applies a random valid configuration.
func (c *churn) apply(t *testing.T, r *rand.Rand) {
	t.Helper()
	var p *Plan
	var cfg *config.Config
	for err := errors.New("none yet"); err != nil; {
		if cfg, err = config.Parse("config.yaml", []byte(randomConfig(r)), nil); err == nil {
			p, err = Build(cfg, Gather(t.Context(), cfg, someNames))
		}
	}
	for i := range p.Pools {
		if checks := p.Pools[i].Checks; checks != nil && r.IntN(3) > 0 {
			checks.Checker = c
		} else if checks != nil {
			checks.Checker = &otherChurn{c}
		}
	}
	refuse := r.IntN(10) == 0
	err := c.live.Apply(p, func(s *proxy.State) error {
		if refuse && c.state.Load() != nil {
			return errors.New("refused")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.follows = make(map[string]bool)
		c.checked = make(map[string]bool)
		for i := range p.Pools {
			c.checked[p.Pools[i].Name] = p.Pools[i].Checks != nil
		}
		former := c.closed
		c.closed = make(map[string]bool)
		for i, l := range s.Listeners {
			c.follows[l.Name] = p.Listeners[i].Follows
			c.closed[l.Name] = former[l.Name]
			for _, m := range l.Pool.Balancer.Members() {
				c.backends[m.Backend] = true
			}
		}
		c.state.Store(s)
		return nil
	})
	if err != nil && !refuse {
		t.Error(err)
	}
}

// someNames resolves each name to random addresses.
func someNames(context.Context, discovery.Name) ([]discovery.Endpoint, error) {
	return randomEndpoints(rand.IntN), nil
}

// randomEndpoints may have addresses that other backends of the pool have too.
func randomEndpoints(intN func(int) int) (list []discovery.Endpoint) {
	for range 1 + intN(6) {
		list = append(list, endpoints(fmt.Sprintf("192.0.2.%d", 1+intN(9)))...)
	}
	return list
}

// update sets the endpoints of a random pool, which may have gone, or have no name.
func (c *churn) update(t *testing.T, r *rand.Rand) {
	c.updates++
	u := EndpointUpdate{Pool: []string{"a", "b", "c"}[r.IntN(3)], Source: "db.test:1", Force: r.IntN(2) == 0}
	u.Generation, u.List = c.updates-uint64(r.IntN(2)), randomEndpoints(r.IntN)
	if result, err := c.live.SetEndpoints(u); err != nil && !strings.HasPrefix(err.Error(), "there is no pool") && !strings.Contains(err.Error(), "whose addresses can change") {
		t.Errorf("%+v: %+v, %v", u, result, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.state.Load().Listeners {
		for _, m := range l.Pool.Balancer.Members() {
			c.backends[m.Backend] = true
		}
	}
}

func randomConfig(r *rand.Rand) string {
	maybe := func(n int, text string) string {
		if r.IntN(n) == 0 {
			return text
		}
		return ""
	}
	var listeners, pools strings.Builder
	names := []string{"a", "b", "c"}
	used := make(map[string]bool)
	for i := range 1 + r.IntN(4) {
		pool := names[r.IntN(len(names))]
		used[pool] = true
		fmt.Fprintf(&listeners, "  l%d: {bind: \"127.0.0.1:%d\", pool: %s%s%s}\n", i, i+1, pool,
			maybe(2, ", when_no_backend: unlisten"), maybe(3, fmt.Sprintf(", max_connections: %d", 1+r.IntN(5))))
	}
	for name := range used {
		fmt.Fprintf(&pools, "  %s:\n    backends:\n", name)
		for _, n := range r.Perm(5)[:1+r.IntN(5)] {
			fmt.Fprintf(&pools, "      - {address: \"192.0.2.%d:1\", weight: %d%s%s}\n", n+1, 1+r.IntN(9),
				maybe(2, fmt.Sprintf(", max_connections: %d", 1+r.IntN(3))), maybe(3, ", backup: true"))
		}
		if r.IntN(2) == 0 {
			pools.WriteString("      - \"db.test:1\"\n    endpoints: {hold: 5ms}\n")
		}
		fmt.Fprintf(&pools, "    policy: %s\n", balancer.Names()[r.IntN(len(balancer.Names()))])
		pools.WriteString(maybe(2, "    queue: {size: 3}\n"))
		pools.WriteString(maybe(3, "    slow_start: 100ms\n"))
		pools.WriteString(maybe(3, "    outlier: {failures: 2, eject: 50ms, max_ejected: 60%}\n"))
		pools.WriteString(maybe(3, "    panic_threshold: 30%\n"))
		pools.WriteString(maybe(3, "    rebalance: {rate: 100}\n"))
		if r.IntN(3) > 0 {
			fmt.Fprintf(&pools, "    health: {interval: %dms, timeout: 20ms, rise: 1, fall: 1}\n    on_down: %s\n", 20+r.IntN(50), []string{"keep", "reset", "drain"}[r.IntN(3)])
		}
	}
	return "listeners:\n" + listeners.String() + "pools:\n" + pools.String()
}

// churnWaiter is a client in a queue.
type churnWaiter chan *backend.Backend

func (w *churnWaiter) Granted(b *backend.Backend) { *w <- b }

// client is one connection, or one that another process hands over.
func (c *churn) client(r *rand.Rand) {
	s := c.state.Load()
	pool := s.Listeners[r.IntN(len(s.Listeners))].Pool
	bal, clock := pool.Balancer, c.live.clock
	w := make(churnWaiter, 1)
	var b *backend.Backend
	if members := bal.Members(); r.IntN(10) == 0 && len(members) > 0 {
		b = members[0].Backend
		bal.Adopt(b)
	} else {
		var verdict balancer.Verdict
		if b, verdict = bal.Pick(balancer.Request{Now: clock(), Waiter: &w, WaitForAny: r.IntN(2) == 0}); verdict == balancer.Waiting {
			select {
			case b = <-w:
			case <-time.After(5 * time.Millisecond):
				if !bal.Leave(&w) {
					b = <-w
				}
			}
		}
	}
	if b == nil {
		return
	}
	began := clock()
	switch r.IntN(4) {
	case 0:
		bal.Failed(b, began, clock())
	case 1:
		bal.Silent(b, balancer.Silence{Asked: began, Now: clock()})
	default:
		bal.OK(b, clock())
	}
	time.Sleep(time.Duration(r.IntN(int(time.Millisecond))))
	bal.Done(b, clock())
}

// settles waits until each checked backend is what the checks say, and the listeners whose pools
// cannot serve are closed, and no others.
func (c *churn) settles(t *testing.T, when string) {
	t.Helper()
	var wrong string
	if !testnet.Within(testnet.Patience, func() bool { wrong = c.unsettled(); return wrong == "" }) {
		t.Fatalf("%s: %s", when, wrong)
	}
}

// unsettled describes what has not settled yet, "" if all has.
func (c *churn) unsettled() string {
	want := backend.HealthDown
	if c.checks.Load() == allPass {
		want = backend.HealthUp
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.state.Load().Listeners {
		canServe := l.Pool.Balancer.CanServe()
		if listens := !c.closed[l.Name]; listens != (canServe || !c.follows[l.Name]) {
			return fmt.Sprintf("listener %s listens = %v, follows = %v, its pool can serve = %v", l.Name, listens, c.follows[l.Name], canServe)
		}
		for _, m := range l.Pool.Balancer.Members() {
			if h := m.Health(); c.checked[l.Pool.Name] && h != want {
				return fmt.Sprintf("backend %s of pool %s is %v", m.Address, l.Pool.Name, h)
			}
		}
	}
	return c.misdrained()
}

func (c *churn) Check(ctx context.Context, _ net.Addr, _ string) error {
	switch checks := c.checks.Load(); {
	case checks == allPass:
		return nil
	case checks == allFail || rand.IntN(3) == 0:
		return errors.New("broken")
	case rand.IntN(5) == 0:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

type otherChurn struct{ *churn }

func (c *churn) Evict(e proxy.Evict) {
	time.Sleep(time.Duration(rand.IntN(int(time.Millisecond))))
	if e.Unless != nil {
		e.Unless()
	}
}

func (c *churn) SetListening(l *proxy.Listener, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.closed[l.Name]; known {
		c.closed[l.Name] = !on
	}
}

func (c *churn) Idle(*backend.Backend, time.Duration, int) []proxy.IdleConn { return nil }

func (c *churn) EndIdle(proxy.IdleConn, proxy.Reason) {}

var _ health.Checker = (*otherChurn)(nil)
