package balancer

import "slices"

// leastRise is the share of its weight with which a slow start begins, as a
// divisor: with none at all, nobody would find out that it works.
const leastRise = 10

// startSlowly begins the slow start of the backend at index i, which has just
// come back: with all connections at once its caches are cold and its
// connections to others are not there yet.
func (p *Balancer) startSlowly(i int, now int64) {
	if p.options.SlowStart <= 0 {
		return
	}
	m := &p.members[i]
	if !m.rising {
		m.rising = true
		p.rising = append(p.rising, i)
	}
	m.risingSince = now
	p.setWeight(i, now)
}

// raise gives those that start slowly the weight that they have by now.
func (p *Balancer) raise(now int64) {
	for _, i := range p.rising {
		p.setWeight(i, now)
	}
	p.rising = slices.DeleteFunc(p.rising, func(i int) bool {
		m := &p.members[i]
		if now-m.risingSince < int64(p.options.SlowStart) {
			return false
		}
		m.rising = false
		return true
	})
}

// setWeight grows with time from a tenth of the configured weight to the whole.
func (p *Balancer) setWeight(i int, now int64) {
	m := &p.members[i]
	t := p.tiers[m.tier]
	full := t.members.full[m.place]
	share := min(1, float64(now-m.risingSince)/float64(p.options.SlowStart))
	t.setWeight(m.place, max(1, full/leastRise, uint32(float64(full)*share)))
}
