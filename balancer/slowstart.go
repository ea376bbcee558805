package balancer

import "slices"

// leastRise is the share of its weight with which a slow start begins, as a divisor. With no weight
// at all, no client would find out that it works.
const leastRise = 10

// startSlowly begins the slow start of m, which is back or new: with all its connections at once,
// its caches are cold and its own connections to other servers do not exist yet.
func (p *Balancer) startSlowly(m *member, now int64) {
	if p.options.SlowStart <= 0 {
		return
	}
	if !m.rising {
		m.rising = true
		p.rising = append(p.rising, m)
	}
	m.risingSince = now
	p.grow(m, now)
}

// raise gives the backends that start slowly the weight that is due by now.
func (p *Balancer) raise(now int64) {
	for _, m := range p.rising {
		p.grow(m, now)
	}
	p.rising = slices.DeleteFunc(p.rising, func(m *member) bool {
		m.rising = now-m.risingSince < int64(p.options.SlowStart)
		return !m.rising
	})
}

// grow sets the weight of m: it grows with time from a tenth of the configured one to the whole.
func (p *Balancer) grow(m *member, now int64) {
	full := m.tier.members.full[m.index]
	share := min(1, float64(now-m.risingSince)/float64(p.options.SlowStart))
	m.tier.setWeight(m.index, max(1, full/leastRise, uint32(float64(full)*share)))
}
