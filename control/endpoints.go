package control

import (
	"fmt"
	"maps"
	"slices"

	"l4proxy/discovery"
)

// EndpointUpdate sets the endpoints of one source of a pool.
type EndpointUpdate struct {
	Pool   string
	Source string // EntryPlan.Address
	// Endpoints have a Generation, from 1. An update that is not newer than the last one is
	// ignored.
	discovery.Endpoints
	// Force carries out removals that the Guard would hold back.
	Force bool
}

// maxEndpoints bounds one update. Names have fewer; see discovery.
const maxEndpoints = 10_000

// EndpointResult is what an update has changed.
type EndpointResult struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	// HeldBack are the backends that stay for now, because too many would be removed at once.
	HeldBack []string `json:"held_back"`
	// Refused are the addresses at which this proxy listens itself: connections there would come
	// back to the pool.
	Refused []string `json:"refused"`
	// Stale says that a newer update came first. Nothing has changed.
	Stale bool `json:"stale"`
	// Empty says that the update had no endpoint that can be used. Nothing has changed: a source
	// never empties its pool.
	Empty bool `json:"empty"`
}

// SetEndpoints sets the endpoints of a source. Backends that stay are not touched, and on_removed
// decides about the connections of those that are removed. The State stays the same: its pools pick
// from live balancers.
func (l *Live) SetEndpoints(u EndpointUpdate) (EndpointResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pool := l.pools[u.Pool]
	if pool == nil {
		return EndpointResult{}, fmt.Errorf("there is no pool %q", u.Pool)
	}
	i := slices.IndexFunc(pool.plan.Entries, func(e EntryPlan) bool { return e.Address == u.Source && e.Source != nil })
	if i < 0 {
		return EndpointResult{}, fmt.Errorf("the pool %s has no backend %q whose addresses can change", u.Pool, u.Source)
	}
	if len(u.List) > maxEndpoints {
		return EndpointResult{}, fmt.Errorf("%d endpoints for %s of the pool %s: at most %d", len(u.List), u.Source, u.Pool, maxEndpoints)
	}
	entry := &pool.plan.Entries[i]
	before := pool.sources[u.Source]
	if before.generation == 0 {
		before.wanted = entry.Endpoints
	}
	result := EndpointResult{Added: []string{}, Removed: []string{}, HeldBack: []string{}, Refused: []string{}}
	if u.Generation <= before.generation {
		result.Stale = true
		return result, nil
	}
	next := before
	next.generation = u.Generation
	next.wanted, next.refused = l.usable(u.Pool, entry, u.List)
	result.Refused = append(result.Refused, next.refused...)
	if len(next.refused) > 0 && !slices.Equal(next.refused, before.refused) {
		l.log.Warn("backend addresses ignored: the proxy listens there itself, and would connect to itself",
			"pool", u.Pool, "name", u.Source, "addresses", next.refused)
	}
	if result.Empty = len(next.wanted) == 0; result.Empty {
		next.wanted = before.wanted
		pool.sources[u.Source] = next
		return result, nil
	}
	now := l.clock()
	pool.peak = pool.peak.after(len(pool.plan.Members), now, pool.plan.Guard.Hold)
	endpoints, next := pool.admit(i, next, u.Force, now)
	pool.sources[u.Source] = next
	if before.held && !next.held {
		pool.peak = peak{} // what was held back is settled, and counts no more
	}
	plan := pool.plan
	plan.Entries = slices.Clone(plan.Entries)
	plan.Entries[i].Endpoints = endpoints
	plan.expand()
	result.compare(pool.plan.Members, plan.Members)
	result.HeldBack = append(result.HeldBack, plan.Entries[i].without(next.wanted)...)
	l.reportHold(u, pool, before, next, result)
	return result, l.replaceMembers(pool, plan, u.Source, result)
}

// withEndpoints returns a plan that is in effect with the endpoints that are in use now.
func (l *Live) withEndpoints(p *Plan) *Plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := *p
	next.Pools = slices.Clone(p.Pools)
	for i := range next.Pools {
		pool := &next.Pools[i]
		live := l.pools[pool.Name]
		if live == nil || len(live.sources) == 0 {
			continue
		}
		pool.Entries = slices.Clone(pool.Entries)
		for k := range pool.Entries { // live has the same, in the same order
			pool.Entries[k].Endpoints = live.plan.Entries[k].Endpoints
		}
		pool.expand()
	}
	return &next
}

// replaceMembers puts other members of one pool into effect.
func (l *Live) replaceMembers(pool *livePool, plan PoolPlan, source string, changed EndpointResult) error {
	same := func(a, b MemberPlan) bool { return a.Key == b.Key && a.Member == b.Member }
	if slices.EqualFunc(pool.plan.Members, plan.Members, same) {
		pool.plan = plan
		return nil
	}
	next := pool.with(plan, l.wanted())
	if err := next.balancer.Update(next.members, next.options, l.clock()); err != nil { // not after New
		return fmt.Errorf("pool %s: %w", plan.Name, err)
	}
	next.watch.settings.Post(next.settings())
	l.pools[plan.Name] = next
	l.dropBackendDrains()
	l.dropWeights()
	l.followDrains(next)
	l.log.Info("backends changed", "pool", plan.Name, "name", source, "added", changed.Added, "removed", changed.Removed,
		"backends", len(plan.Members))
	return nil
}

// reportHold logs when removals begin to be held back, and how that ends.
func (l *Live) reportHold(u EndpointUpdate, pool *livePool, before, next sourceState, r EndpointResult) {
	log := l.log.With("pool", u.Pool, "name", u.Source)
	switch {
	case next.held && !before.held:
		log.Error("removal of backends held back: too many at once", "held_back", r.HeldBack, "backends", len(pool.plan.Members),
			"max_removed", fmt.Sprintf("%d%%", pool.plan.Guard.MaxRemoved), "hold", pool.plan.Guard.Hold.String())
	case before.held && !next.held && len(r.Removed) > 0:
		log.Warn("removing the backends that were held back", "removed", r.Removed)
	case before.held && !next.held:
		log.Info("removal of backends no longer held back: they are in use again")
	}
}

// usable returns the endpoints of the right family that are not this proxy itself, and names those
// that are.
func (l *Live) usable(pool string, e *EntryPlan, list []discovery.Endpoint) (usable []discovery.Endpoint, refused []string) {
	probe := *e
	for _, ep := range list {
		if !e.Source.accepts(ep.IP) {
			continue
		}
		probe.Endpoints = []discovery.Endpoint{ep}
		b := probe.backends()[0]
		if l.leadsBack(pool, b.Key.Endpoint) {
			refused = append(refused, b.Name)
			continue
		}
		usable = append(usable, ep)
	}
	return usable, refused
}

// without names the backends of e whose endpoints are not in the list.
func (e *EntryPlan) without(list []discovery.Endpoint) []string {
	kept := *e
	kept.Endpoints = list
	stays := make(map[BackendKey]bool, len(list))
	for _, b := range kept.backends() {
		stays[b.Key] = true
	}
	var gone []string
	for _, b := range e.backends() {
		if !stays[b.Key] {
			gone = append(gone, b.Name)
		}
	}
	return gone
}

// compare notes which backends have come and gone.
func (r *EndpointResult) compare(before, after []MemberPlan) {
	old := make(map[string]bool, len(before))
	for _, m := range before {
		old[m.Name] = true
	}
	for _, m := range after {
		if !old[m.Name] {
			r.Added = append(r.Added, m.Name)
		}
		delete(old, m.Name)
	}
	r.Removed = slices.Sorted(maps.Keys(old))
}
