package control

import (
	"fmt"
	"math/rand/v2"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/health"
	"l4proxy/proxy"
)

// prepared is a plan with all its live objects. Those that existed before are still unchanged.
type prepared struct {
	state    *proxy.State
	pools    map[string]*livePool
	settings map[string]*settings
	slots    map[string]*proxy.Slots
	follows  map[string]*Watch // by listener
}

// prepare makes what is new in a plan, and a State of new and old.
func (l *Live) prepare(p *Plan) (*prepared, error) {
	next := &prepared{
		state:    new(proxy.State),
		pools:    make(map[string]*livePool, len(p.Pools)),
		settings: make(map[string]*settings, len(p.Pools)),
		slots:    make(map[string]*proxy.Slots, len(p.Listeners)),
		follows:  make(map[string]*Watch),
	}
	pools := make(map[string]*proxy.Pool, len(p.Pools))
	for i := range p.Pools {
		planned := &p.Pools[i]
		pool, err := l.preparePool(planned, next)
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", planned.Name, err)
		}
		pools[planned.Name] = pool
	}
	for i := range p.Listeners {
		planned := &p.Listeners[i]
		listener := planned.Listener
		listener.Pool = pools[planned.PoolName]
		listener.Slots = l.slotsFor(planned)
		next.slots[listener.Name] = listener.Slots
		next.state.Listeners = append(next.state.Listeners, &listener)
		if planned.Follows {
			next.follows[listener.Name] = next.pools[planned.PoolName].watch
			s := next.settings[planned.PoolName]
			s.listeners = append(s.listeners, &listener)
		}
	}
	return next, nil
}

func (l *Live) preparePool(p *PoolPlan, next *prepared) (*proxy.Pool, error) {
	live := &livePool{
		members:  make([]balancer.Member, len(p.Members)),
		options:  p.Options,
		backends: make(map[BackendKey]*backend.Backend, len(p.Members)),
		hedges:   new(proxy.HedgeBudget),
	}
	live.options.Seed = rand.Uint64()
	old := l.pools[p.Name]
	if old != nil {
		live.balancer, live.options.Seed, live.hedges, live.watch = old.balancer, old.options.Seed, old.hedges, old.watch
	}
	for i := range p.Members {
		m := &p.Members[i]
		b := old.backendFor(m)
		if old == nil || old.backends[m.Key] == nil { // the balancer does not know it yet
			b.SetAdmin(l.drains.of(p.Name, m.Key))
		}
		live.backends[m.Key] = b
		live.members[i] = m.Member
		live.members[i].Backend = b
	}
	if old != nil {
		live.departed = old.departures(live)
	}
	if old == nil {
		var err error
		if live.balancer, err = balancer.New(live.members, live.options); err != nil {
			return nil, err
		}
		live.watch = newWatch(p.Name, live.balancer, l)
	}
	next.pools[p.Name] = live
	next.settings[p.Name] = &settings{rules: p.Rules, members: live.members, checks: liveChecks(p, live.members)}
	pool := p.Pool
	pool.Balancer, pool.Hedges, pool.Members = live.balancer, live.hedges, live.members
	return &pool, nil
}

// liveChecks is the group of checks of a pool with its backends.
func liveChecks(p *PoolPlan, members []balancer.Member) *health.Group {
	if p.Checks == nil {
		return nil
	}
	g := *p.Checks
	g.Seed = rand.Uint64()
	g.Targets = make([]health.Target, len(members))
	for i, m := range members {
		g.Targets[i] = p.Checks.Targets[i]
		g.Targets[i].Backend = m.Backend
	}
	return &g
}
