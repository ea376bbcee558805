package balancer

import "l4proxy/backend"

// member is what a Balancer knows about one backend beside what the backend
// says itself.
type member struct {
	tier, place int
	// risingSince is when a slow start began, if it is rising.
	rising      bool
	risingSince int64
	// lastEjection is how long the last ejection was, and returned when it
	// ended.
	lastEjection, returned int64
	silences               []silence // counted recently
	trial                  trial
	down, unusable         bool // as counted in standing
}

// standing counts who could serve, as far as checks and connections tell.
type standing struct {
	down      int // by health checks
	unusable  int // down, or ejected
	panicking bool
}

// refresh puts the backend at index i where it belongs. It is called after
// everything that may change that.
func (p *Balancer) refresh(i int) {
	b := p.backends[i]
	t, place := p.tiers[p.members[i].tier], p.members[i].place
	p.recount(i)
	down := b.Health() == backend.HealthDown && !p.standing.panicking
	ejected := b.Ejected() && !p.standing.panicking
	full := b.MaxConnections > 0 && b.Active() >= int64(b.MaxConnections)
	aside := b.InBackoff()
	t.setAvailable(place, !down && !ejected && !aside && !full)
	t.setFull(place, !down && !ejected && !aside && full)
	t.setDue(place, aside && !down && !ejected && !full)
	t.setWaiting(place, (aside || ejected) && !down && !full)
}

// recount keeps the number of those that cannot be used.
func (p *Balancer) recount(i int) {
	b, m := p.backends[i], &p.members[i]
	down := b.Health() == backend.HealthDown
	p.standing.down += change(m.down, down)
	p.standing.unusable += change(m.unusable, down || b.Ejected())
	m.down, m.unusable = down, down || b.Ejected()
}

// change is what becoming is adds to a count of those that are.
func change(was, is bool) int {
	switch {
	case was == is:
		return 0
	case is:
		return 1
	}
	return -1
}

// judge begins or ends to ignore what checks and connections say. It follows
// each change of that.
func (p *Balancer) judge() {
	usable := len(p.backends) - p.standing.unusable
	panicking := p.options.PanicThreshold > 0 && p.standing.unusable > 0 &&
		usable*100 <= p.options.PanicThreshold*len(p.backends)
	if panicking == p.standing.panicking {
		return
	}
	p.standing.panicking = panicking
	for i := range p.backends {
		p.refresh(i)
	}
}

// Stats is the state of a pool at one moment.
type Stats struct {
	Backends int
	// Usable are those that are neither down nor ejected. Some of them may be
	// left aside, or full.
	Usable int
	// Waiting are the clients in the queue.
	Waiting int
	// Panicking tells that too few are usable, so that all are used.
	Panicking bool
}

// Stats returns the present state.
func (p *Balancer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Backends:  len(p.backends),
		Usable:    len(p.backends) - p.standing.unusable,
		Waiting:   p.queue.len(),
		Panicking: p.standing.panicking,
	}
}

// CanServe reports whether any backend may be picked, as far as health checks
// tell.
func (p *Balancer) CanServe() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing.panicking || p.standing.down < len(p.backends)
}

// A Share is how much of a pool's connections a backend has.
type Share struct {
	Backend *backend.Backend
	Active  int64
	Weight  float64 // its share of the pool at this moment, from 0 to 1
}

// Shares returns the shares of those backends that new connections go to now,
// full ones included.
func (p *Balancer) Shares() []Share {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.tiers {
		var shares []Share
		sum := 0.0
		for i, b := range t.members.backends {
			if t.available[i] || t.isFull[i] {
				weight := float64(t.members.weights[i])
				shares = append(shares, Share{Backend: b, Active: b.Active(), Weight: weight})
				sum += weight
			}
		}
		if len(shares) > 0 {
			for i := range shares {
				shares[i].Weight /= sum
			}
			return shares
		}
	}
	return nil
}
