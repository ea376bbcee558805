package balancer

import (
	"fmt"

	"l4proxy/backend"
)

// layout is what the members and the options of a Balancer decide.
type layout struct {
	options  Options
	hashes   bool // the policy looks at the client's address
	hashSeed *seed
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
		options:  o,
		hashes:   policy.hashes,
		hashSeed: hashSeed(o.HashSeed),
		order:    make([]*member, len(list)),
		members:  make(map[*backend.Backend]*member, len(list)),
	}
	for i, m := range list {
		if m.Weight < 1 || m.Weight > MaxWeight/unit {
			return nil, fmt.Errorf("backend %s has weight %d: from 1 to %d", m.Address, m.Weight, MaxWeight/unit)
		}
		if l.members[m.Backend] != nil {
			return nil, fmt.Errorf("backend %s is in the pool twice", m.Address)
		}
		l.order[i] = &member{Member: m}
		l.members[m.Backend] = l.order[i]
	}
	l.tiers = newTiers(l.order, uint32(unit), func(m *members) chooser {
		return policy.build(m, chooserOptions{Seed: o.Seed, HashSeed: l.hashSeed, MaxLoad: o.MaxLoad})
	})
	return l, nil
}

// New returns a Balancer over the members. Without any, nothing is ever picked.
func New(members []Member, o Options) (*Balancer, error) {
	l, err := newLayout(members, o)
	if err != nil {
		return nil, err
	}
	p := &Balancer{layout: *l}
	p.setFlags()
	for _, m := range p.order {
		p.refresh(m)
	}
	p.judge()
	return p, nil
}

// setFlags sets what is read without the lock.
func (p *Balancer) setFlags() {
	follows := false
	for _, m := range p.order {
		follows = follows || m.MaxConnections > 0 || m.tier.recounter != nil
	}
	p.followsEnds.Store(follows)
	p.ejects.Store(p.options.Outlier != nil)
}
