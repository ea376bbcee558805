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
	"l4proxy/health"
	"l4proxy/proxy"
)

// TestChurn applies random plans as fast as it can, while clients come and go, checks fail and
// pass, and Run runs. At the end everything has been given back and has stopped, and each listener
// listens if its pool can serve.
func TestChurn(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	c := &churn{live: NewLive(slog.New(slog.DiscardHandler)), backends: make(map[*backend.Backend]bool), closed: make(map[string]bool)}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
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
	for begun := time.Now(); time.Since(begun) < time.Second; {
		c.apply(t, r)
		time.Sleep(time.Duration(r.IntN(int(5 * time.Millisecond))))
	}
	close(over)
	clients.Wait()
	c.broken.Store(true)
	time.Sleep(300 * time.Millisecond)
	c.wantListening(t, "all checks fail")
	c.healed.Store(true)
	time.Sleep(300 * time.Millisecond)
	c.wantListening(t, "all checks pass")
	for b := range c.backends {
		if n := b.Active(); n != 0 {
			t.Errorf("%s still has %d connections", b.Address, n)
		}
	}
	empty := new(Plan)
	if err := c.live.Apply(empty, func(*proxy.State) error { return nil }); err != nil {
		t.Error(err)
	}
	for begun := time.Now(); runtime.NumGoroutine() > goroutines+2 && time.Since(begun) < 5*time.Second; { // Run's and the Monitor's
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines+2 {
		t.Errorf("%d goroutines without any pool, %d before", n, goroutines)
	}
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
	live           *Live
	state          atomic.Pointer[proxy.State]
	broken, healed atomic.Bool // the checks

	mu       sync.Mutex
	backends map[*backend.Backend]bool // that were ever in a plan
	closed   map[string]bool           // by listener
	follows  map[string]bool           // the latest plan's
}

// apply applies a random valid configuration.
func (c *churn) apply(t *testing.T, r *rand.Rand) {
	t.Helper()
	var p *Plan
	var cfg *config.Config
	for err := errors.New("none yet"); err != nil; {
		if cfg, err = config.Parse("config.yaml", []byte(randomConfig(r)), nil); err == nil {
			p, err = Build(cfg, Gather(t.Context(), cfg, noNames))
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
		former := c.closed
		c.closed = make(map[string]bool)
		for i, l := range s.Listeners {
			c.follows[l.Name] = p.Listeners[i].Follows
			c.closed[l.Name] = former[l.Name]
			for _, m := range l.Pool.Members {
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
	if r.IntN(10) == 0 && len(pool.Members) > 0 {
		b = pool.Members[0].Backend
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

// wantListening checks that the listeners are closed whose pools cannot serve.
func (c *churn) wantListening(t *testing.T, when string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.state.Load().Listeners {
		if want := !c.follows[l.Name] || l.Pool.Balancer.CanServe(); c.closed[l.Name] == want {
			t.Errorf("%s: listener %s closed = %v, follows = %v, its pool can serve = %v", when, l.Name, c.closed[l.Name], c.follows[l.Name], l.Pool.Balancer.CanServe())
		}
		for _, m := range l.Pool.Members {
			if !l.Pool.Balancer.CanServe() && m.Health() != backend.HealthDown {
				t.Errorf("%s: %s is %v", when, m.Address, m.Health())
			}
		}
	}
}

func (c *churn) Check(ctx context.Context, _ net.Addr, _ string) error {
	switch {
	case c.healed.Load():
		return nil
	case c.broken.Load() || rand.IntN(3) == 0:
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
