package control

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/health"
	"l4proxy/proxy"
)

// prepared is a plan with all its live objects. Those that existed before are still unchanged.
type prepared struct {
	state   *proxy.State
	pools   map[string]*livePool
	slots   map[string]*proxy.Slots
	follows map[string]*Watch // by listener
}

// prepare makes what is new in a plan, and a State of new and old.
func (l *Live) prepare(p *Plan) (*prepared, error) {
	next := &prepared{
		state:   new(proxy.State),
		pools:   make(map[string]*livePool, len(p.Pools)),
		slots:   make(map[string]*proxy.Slots, len(p.Listeners)),
		follows: make(map[string]*Watch),
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
		for _, name := range planned.RoutePoolNames {
			listener.RoutePools = append(listener.RoutePools, pools[name])
		}
		listener.Slots = l.slotsFor(planned)
		listener.Clients = l.clientsFor(planned)
		next.slots[listener.Name] = listener.Slots
		next.state.Listeners = append(next.state.Listeners, &listener)
		if planned.Follows {
			next.follows[listener.Name] = next.pools[planned.PoolName].watch
			pool := next.pools[planned.PoolName]
			pool.listeners = append(pool.listeners, &listener)
		}
	}
	return next, nil
}

func (l *Live) preparePool(p *PoolPlan, next *prepared) (*proxy.Pool, error) {
	old := l.pools[p.Name]
	live := &livePool{hedges: new(proxy.HedgeBudget)}
	if old == nil {
		live = live.with(*p, l.wanted())
		live.options.Seed = rand.Uint64()
		live.sources = make(map[string]sourceState)
		var err error
		if live.balancer, err = balancer.New(live.members, live.options); err != nil {
			return nil, err
		}
		live.watch = newWatch(p.Name, live.balancer, l)
	} else {
		live = old.reloaded(p, l.wanted())
	}
	next.pools[p.Name] = live
	pool := p.Pool
	pool.Balancer, pool.Hedges = live.balancer, live.hedges
	return &pool, nil
}

// with returns the pool with another plan. Backends that stay are the same objects.
func (p *livePool) with(plan PoolPlan, w wanted) *livePool {
	next := *p
	next.plan = plan
	next.options = plan.Options
	next.options.Seed = p.options.Seed
	next.members = make([]balancer.Member, len(plan.Members))
	next.backends = make(map[BackendKey]*backend.Backend, len(plan.Members))
	next.returned = make(map[BackendKey]*backend.Backend)
	find := p.finder()
	for i := range plan.Members {
		m := &plan.Members[i]
		b, known := find(m)
		if !known { // to the balancer
			b.SetAdmin(w.drains.of(plan.Name, m.Key))
			if b.Active() > 0 {
				next.returned[m.Key] = b
			}
		}
		next.backends[m.Key] = b
		next.members[i] = m.Member
		next.members[i].Backend = b
		if given := w.weights.find(plan.Name, m.Key); given != nil {
			next.members[i].Weight = given.value
		}
	}
	next.departed = p.departures(&next)
	return &next
}

// reloaded returns the pool with the plan of another configuration. A source that has given
// endpoints before keeps them: what the plan has may be older, and removals that are held back stay
// so, unless the new Guard allows them.
func (p *livePool) reloaded(planned *PoolPlan, w wanted) *livePool {
	plan := *planned
	plan.Entries = slices.Clone(plan.Entries)
	states := make(map[string]sourceState)
	changed := false
	for i := range plan.Entries {
		e := &plan.Entries[i]
		k := slices.IndexFunc(p.plan.Entries, func(old EntryPlan) bool { return old.Address == e.Address })
		state, known := p.sources[e.Address]
		if k < 0 || !known || e.Source == nil || p.plan.Entries[k].Source.Family != e.Source.Family {
			continue
		}
		e.Endpoints, states[e.Address] = p.plan.Entries[k].Endpoints, state
		changed = true
	}
	if changed {
		plan.expand()
	}
	next := *p
	next.plan, next.sources, next.peak = plan, states, peak{size: len(plan.Members)}
	for i, e := range plan.Entries {
		if state := states[e.Address]; state.held {
			plan.Entries[i].Endpoints, states[e.Address] = next.admit(i, state, false, state.since)
		}
	}
	plan.expand()
	result := p.with(plan, w)
	result.sources, result.peak, result.listeners = states, next.peak, nil
	return result
}

// settings are what the Watch of the pool works from.
func (p *livePool) settings() *settings {
	return &settings{rules: p.plan.Rules, members: p.members, checks: liveChecks(&p.plan, p.members), listeners: p.listeners}
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
