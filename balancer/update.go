package balancer

import (
	"fmt"
	"slices"

	"l4proxy/backend"
)

// layout is what the members and the options of a Balancer decide.
type layout struct {
	options  Options
	hashes   bool      // the policy looks at the client's address
	hashSeed *seed     // nil unless it does
	order    []*member // as configured
	members  map[*backend.Backend]*member
	tiers    []*tier // the first to serve is first
}

// newLayout makes a layout in which no member is available yet.
func newLayout(list []Member, o Options) (*layout, error) {
	policy, err := policyNamed(o.Policy)
	if err != nil {
		return nil, err
	}
	unit := 1
	if o.SlowStart > 0 {
		unit = slowStartSteps
	}
	l := &layout{
		options: o,
		hashes:  policy.hashes,
		order:   make([]*member, len(list)),
		members: make(map[*backend.Backend]*member, len(list)),
	}
	if policy.hashes {
		l.hashSeed = hashSeed(o.HashSeed)
	}
	records := make([]member, len(list))
	for i, m := range list {
		if m.Weight < 1 || m.Weight > MaxWeight/unit {
			return nil, fmt.Errorf("backend %s has weight %d: from 1 to %d", m.Address, m.Weight, MaxWeight/unit)
		}
		if l.members[m.Backend] != nil {
			return nil, fmt.Errorf("backend %s is in the pool twice", m.Address)
		}
		records[i].Member = m
		l.order[i] = &records[i]
		l.members[m.Backend] = l.order[i]
	}
	l.tiers = newTiers(l.order, uint32(unit), func(m *members) chooser {
		return policy.build(m, chooserOptions{Seed: o.Seed, HashSeed: l.hashSeed, MaxLoad: o.MaxLoad})
	})
	return l, nil
}

// New returns a Balancer over the members. Without any, nothing is ever picked.
func New(members []Member, o Options) (*Balancer, error) {
	p := new(Balancer)
	if err := p.Update(members, o, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// Update gives a live Balancer other members, other options or both. On an error, everything stays
// as it is.
//
// Members that stay keep what is known of them: connections, health, backoff and probe, ejection,
// trial, slow start, and (under the same policy) their turn. Another weight, limit, priority or
// zone counts from now on. A lower limit ends no connections; the backend gets none until it has
// fewer.
//
// New members start slowly if the pool has a slow start and any old member stays. Like a backend
// that is back, they would otherwise get all clients at once under least_conn. When the whole pool
// is new, there is no other backend to relieve them.
//
// The backoff, ejection and trial of members that leave are dropped. Their connections are counted
// on them until Done, as before.
//
// Clients in the queue keep their positions, also in a queue that is now too short for them, and
// those that can be served are. An ejection that is under way ends when it would have, or now if
// o.Outlier is nil.
//
// A hash policy moves only the keys that New would place elsewhere for the new members: those of
// the members that came, left or changed their weights, and a few others (see source_hash and
// maglev).
//
// With 10,000 members an Update takes up to 100 ms, and holds the lock for about 2 ms of them: the
// tables of the hash policies are built without it. Updates must not overlap. After one, Tick may
// have something to do.
func (p *Balancer) Update(members []Member, o Options, now int64) error {
	next, err := newLayout(members, o)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.unlock()
	old := p.layout
	p.layout = *next
	p.followsEnds.Store(p.endsMatter())
	p.ejects.Store(o.Outlier != nil)
	newcomers := p.inherit(&old)
	p.standing = standing{panicking: p.standing.panicking}
	p.dropOutliers(now)
	p.restart(newcomers, now)
	for _, m := range p.order {
		p.refresh(m)
	}
	p.succeed(&old)
	p.judge()
	p.serveQueue(now)
	return nil
}

// endsMatter reports whether the end of a connection makes a difference to others.
func (p *Balancer) endsMatter() bool {
	return p.options.MaxConnections > 0 || slices.ContainsFunc(p.order, func(m *member) bool {
		return m.MaxConnections > 0 || m.tier.recounter != nil
	})
}

// inherit gives the members what is known of them, and returns those that are new.
func (p *Balancer) inherit(old *layout) (newcomers []*member) {
	for _, m := range p.order {
		if was := old.members[m.Backend]; was != nil {
			m.history = was.history
		} else {
			newcomers = append(newcomers, m)
		}
	}
	for _, m := range old.order {
		if p.members[m.Backend] == nil {
			m.Reset()
		}
	}
	for _, list := range []*[]*member{&p.ejected, &p.rising, &p.onTrial} {
		kept := make([]*member, 0, len(*list))
		for _, m := range *list {
			if m = p.members[m.Backend]; m != nil {
				kept = append(kept, m)
			}
		}
		*list = kept
	}
	return newcomers
}

// dropOutliers ends ejections and trials, if the pool ejects no backends any more.
func (p *Balancer) dropOutliers(now int64) {
	if p.options.Outlier != nil {
		return
	}
	for _, m := range p.ejected {
		p.startSlowly(m, now)
		p.report(Event{Kind: Returned, Backend: m.Backend, Now: now})
	}
	p.ejected, p.onTrial = nil, nil
	for _, m := range p.order {
		m.ForgetFailures()
		m.trial, m.silences, m.lastEjection = trial{}, nil, 0
	}
}

// restart continues slow starts in the new layout, and begins those of new members.
func (p *Balancer) restart(newcomers []*member, now int64) {
	if p.options.SlowStart <= 0 {
		for _, m := range p.rising {
			m.rising = false
		}
		p.rising = nil
		return
	}
	p.raise(now)
	if len(newcomers) < len(p.order) {
		for _, m := range newcomers {
			p.startSlowly(m, now)
		}
	}
}

// succeed lets the members that stay in a tier keep their turns in it.
func (p *Balancer) succeed(old *layout) {
	for _, t := range p.tiers {
		next, ok := t.chooser.(successor)
		if !ok {
			continue
		}
		i := slices.IndexFunc(old.tiers, func(o *tier) bool { return o.priority == t.priority && o.far == t.far })
		if i < 0 {
			continue
		}
		was := make([]int, len(t.records))
		for k, m := range t.records {
			was[k] = -1
			if o := old.members[m.Backend]; o != nil && o.tier == old.tiers[i] {
				was[k] = o.index
			}
		}
		next.succeed(old.tiers[i].chooser, was)
	}
}
