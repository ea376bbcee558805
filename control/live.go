package control

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/clientlimit"
	"l4proxy/discovery"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// Live keeps what outlives a configuration, by name:
//   - for each pool, the balancer, the backends, the hedge budget and the [Watch]
//   - for each listener, the connection slots and the counts of each client
//   - for both, what an operator has drained, and the weights that an operator has set
//
// Make one with NewLive.
type Live struct {
	// Directory follows the names of backends while Run runs; nil leaves them as they are. It is
	// set before the first use.
	Directory *discovery.Directory

	log    *slog.Logger
	clock  func() int64 // of balancers and loops
	checks *health.Monitor
	// followers are the listeners that are closed while no backend of their pool can serve.
	followers followers

	mu    sync.Mutex
	pools map[string]*livePool
	slots map[string]*proxy.Slots // by listener
	state *proxy.State            // the latest
	binds map[uint16][]ownBind    // of the listeners, by port
	// following are the sources that run.
	following map[sourceKey]following
	running   *running // nil unless Run runs
	// departed are the slots of removed listeners that still have connections.
	departed map[string]*proxy.Slots
	clients  map[string]*clientlimit.Limiter // by listener
	drains   drains
	weights  weights
}

// running is what Run needs to start a Watch.
type running struct {
	ctx     context.Context
	plane   DataPlane
	watches sync.WaitGroup
}

// livePool holds the live objects of a pool, and its current settings.
type livePool struct {
	plan     PoolPlan // with the endpoints in use
	balancer *balancer.Balancer
	members  []balancer.Member
	options  balancer.Options
	backends map[BackendKey]*backend.Backend
	departed map[BackendKey]*backend.Backend // have left, and have connections
	returned map[BackendKey]*backend.Backend // were departed until now
	hedges   *proxy.HedgeBudget
	watch    *Watch
	// listeners are closed while no backend can serve.
	listeners []*proxy.Listener

	sources map[string]sourceState // by EntryPlan.Address
	peak    peak
}

// DataPlane is what a [Watch] asks of a [proxy.Server].
type DataPlane interface {
	Evict(proxy.Evict)
	SetListening(l *proxy.Listener, on bool)
	DrainListener(name string, on bool)
	EndGently(proxy.GentleEnd)
	Idle(b *backend.Backend, quiet time.Duration, most int) []proxy.IdleConn
	EndIdle(i proxy.IdleConn, reason proxy.Reason)
}

// NewLive returns a Live without pools and listeners.
func NewLive(log *slog.Logger) *Live {
	l := &Live{log: log, clock: rawsys.Monotonic, checks: health.New(), drains: newDrains(), weights: make(weights),
		following: make(map[sourceKey]following)}
	l.checks.Trouble = func(err error) {
		if err != nil {
			log.Error("health checks paused: the proxy is out of descriptors or ports", "error", err.Error())
			return
		}
		log.Info("health checks resumed")
	}
	return l
}

// Apply puts a plan into effect. Pools and listeners that stay are changed, not made again: their
// counts, queues, ejections and connections carry on. install puts the new State into service. If
// it fails, nothing has changed.
func (l *Live) Apply(p *Plan, install func(*proxy.State) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, err := l.prepare(p)
	if err != nil {
		return err
	}
	if err := install(next.state); err != nil {
		return err
	}
	l.commit(p, next)
	return nil
}

// commit changes what stays, starts the Watches of new pools and stops those of removed ones.
func (l *Live) commit(p *Plan, next *prepared) {
	for i, listener := range next.state.Listeners {
		listener.Slots.SetLimit(p.Listeners[i].MaxConnections)
	}
	l.limitClients(p, next.state)
	var plane DataPlane
	if l.running != nil {
		plane = l.running.plane
	}
	l.followers.replace(next.follows, plane)
	for i := range p.Pools {
		planned := &p.Pools[i]
		pool, old := next.pools[planned.Name], l.pools[planned.Name]
		if old != nil && !pool.picksLike(old) {
			if err := pool.balancer.Update(pool.members, pool.options, l.clock()); err != nil { // not after New
				l.log.Error("pool not updated", "pool", planned.Name, "error", err.Error())
			}
		}
		pool.watch.settings.Post(pool.settings())
		if old == nil && l.running != nil {
			l.running.start(pool.watch)
		}
	}
	for name, pool := range l.pools {
		if next.pools[name] == nil && l.running != nil {
			pool.watch.Stop()
		}
	}
	l.departed = l.departures(next.slots)
	l.pools, l.slots, l.state, l.binds = next.pools, next.slots, next.state, ownBinds(p.Listeners)
	l.dropListenerDrains()
	l.dropBackendDrains()
	l.dropWeights()
	for _, pool := range l.pools {
		l.followDrains(pool)
	}
	l.follow()
}

// Run watches the pools until ctx is done, and returns when everything that it started has stopped.
// plane is what serves the State.
func (l *Live) Run(ctx context.Context, plane DataPlane) {
	var checks sync.WaitGroup
	checks.Go(func() { l.checks.Run(ctx) })
	r := &running{ctx: ctx, plane: plane}
	l.mu.Lock()
	l.running = r
	for _, pool := range l.pools {
		r.start(pool.watch)
	}
	l.resumeDrains(plane)
	l.follow()
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.running = nil
	l.mu.Unlock()
	r.watches.Wait()
	checks.Wait()
}

// picksLike reports whether the balancer of old needs no Update. That would rebuild its tables for
// nothing.
func (p *livePool) picksLike(old *livePool) bool {
	return slices.Equal(p.members, old.members) && reflect.DeepEqual(p.options, old.options)
}

func (r *running) start(w *Watch) {
	r.watches.Go(func() { w.Run(r.ctx, r.plane) })
}
