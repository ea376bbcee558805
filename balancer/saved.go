package balancer

import "l4proxy/backend"

// Saved is what another process needs to know of a member to carry on with it. Its JSON form is
// part of the hand-over format (docs/handover.md).
type Saved struct {
	backend.Saved
	RisingSince  int64 `json:"rising_since,omitempty"`  // of a slow start; 0 without one
	LastEjection int64 `json:"last_ejection,omitempty"` // how long it lasted
	Returned     int64 `json:"returned,omitempty"`      // when it ended
}

// Save writes down what is known of a backend. ok is false if it is not in the pool.
func (p *Balancer) Save(b *backend.Backend) (s Saved, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[b]
	if m == nil {
		return Saved{}, false
	}
	s = Saved{Saved: b.Save(), LastEjection: m.lastEjection, Returned: m.returned}
	if m.rising {
		s.RisingSince = m.risingSince
	}
	return s, true
}

// Load gives a member what another process has saved of it, before the first Pick. The pool's
// settings may be others than there: what they do not provide for is dropped. Nothing is reported:
// the other process has done so.
func (p *Balancer) Load(b *backend.Backend, s Saved, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[b]
	if m == nil {
		return
	}
	longest := int64(0)
	if o := p.options.Outlier; o != nil {
		longest = max(int64(o.Eject), int64(maxEjection))
		m.lastEjection, m.returned = min(max(s.LastEjection, 0), longest), min(s.Returned, now)
	}
	b.Load(s.Saved, now, longest)
	if m.Ejected() {
		p.ejected = append(p.ejected, m)
	}
	if s.RisingSince > 0 && s.RisingSince <= now && now-s.RisingSince < int64(p.options.SlowStart) {
		p.startSlowly(m, s.RisingSince)
		p.grow(m, now)
	}
	p.refresh(m)
	p.reschedule(m)
	p.judge()
}
