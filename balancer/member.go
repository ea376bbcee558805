package balancer

import "l4proxy/backend"

// member is what a Balancer knows about one backend beside what the backend says itself.
type member struct {
	Member
	tier           *tier
	index          int  // in the tier
	down, unusable bool // as counted in standing
	drained        bool
	history
}

// history is the part of a member that an Update carries over.
type history struct {
	// risingSince is when a slow start began, if it is rising.
	rising      bool
	risingSince int64
	// lastEjection is how long the last ejection lasted, and returned when it ended.
	lastEjection, returned int64
	silences               []silence // counted recently
	trial                  trial
	turn                   uint64 // when it was last tried, as far as it could not be picked; see tier.go
}

// full reports whether the member has all the connections that it may have.
func (m *member) full() bool {
	return m.MaxConnections > 0 && m.Active() >= int64(m.MaxConnections)
}

// standing counts the backends that cannot be used. Drained ones are counted as nothing else: panic
// mode does not ignore what an operator has set, and they say nothing about the checks.
type standing struct {
	drained   int // by an operator
	down      int // by health checks
	unusable  int // down, or ejected
	panicking bool
}

// refresh puts m where it belongs. It is called after everything that may change that.
func (p *Balancer) refresh(m *member) {
	p.recount(m)
	down := m.Health() == backend.HealthDown && !p.standing.panicking || m.drained
	ejected := m.Ejected() && !p.standing.panicking
	full, backoff := m.full(), m.InBackoff()
	m.tier.setAvailable(m.index, !down && !ejected && !backoff && !full)
	m.tier.setFull(m.index, !down && !ejected && !backoff && full)
	m.tier.setDue(m, backoff && !down && !ejected && !full)
	m.tier.setWaiting(m, (backoff || ejected) && !down && !full)
}

// recount keeps the number of the backends that cannot be used.
func (p *Balancer) recount(m *member) {
	drained := m.Admin() != backend.AdminUp
	down := m.Health() == backend.HealthDown && !drained
	unusable := down || m.Ejected() && !drained
	p.standing.drained += change(m.drained, drained)
	p.standing.down += change(m.down, down)
	p.standing.unusable += change(m.unusable, unusable)
	m.drained, m.down, m.unusable = drained, down, unusable
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

// inService is the number of backends that are not drained.
func (p *Balancer) inService() int { return len(p.order) - p.standing.drained }

// judge starts or stops ignoring health and ejections. It follows each change of either.
func (p *Balancer) judge() {
	usable := p.inService() - p.standing.unusable
	panicking := p.options.PanicThreshold > 0 && p.standing.unusable > 0 &&
		usable*100 <= p.options.PanicThreshold*p.inService()
	if panicking == p.standing.panicking {
		return
	}
	p.standing.panicking = panicking
	for _, m := range p.order {
		p.refresh(m)
	}
}

// Stats is the state of a pool at one moment.
type Stats struct {
	Backends int
	// Drained are those that an operator has taken out of service.
	Drained int
	// Usable are those that are neither drained, down nor ejected. Some of them may be in backoff,
	// or full.
	Usable int
	// Waiting is the number of clients in the queue.
	Waiting int
	// Connections are those of the pool, and Limit is the most of them; 0 means no limit.
	Connections, Limit int64
	// Panicking says that so few are usable that all are used.
	Panicking bool
	// Ejections and Backoffs are how many there were so far. A backoff that lasts counts once.
	Ejections, Backoffs uint64
}

// Stats returns the present state.
func (p *Balancer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Backends:    len(p.order),
		Drained:     p.standing.drained,
		Usable:      p.inService() - p.standing.unusable,
		Waiting:     p.queue.len(),
		Connections: p.active.Load(),
		Limit:       p.options.MaxConnections,
		Panicking:   p.standing.panicking,
		Ejections:   p.ejections,
		Backoffs:    p.backoffs,
	}
}

// Members returns the members as the last Update, or New, set them.
func (p *Balancer) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	members := make([]Member, len(p.order))
	for i, m := range p.order {
		members[i] = m.Member
	}
	return members
}

// Find returns the first backend of the pool that match accepts, in the order of Members; nil if
// there is none. match must not call the Balancer.
func (p *Balancer) Find(match func(*backend.Backend) bool) *backend.Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.order {
		if match(m.Backend) {
			return m.Backend
		}
	}
	return nil
}

// CanServe reports whether any backend may be picked, by the health checks and the operator alone.
func (p *Balancer) CanServe() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing.panicking || p.standing.down < p.inService()
}

// A Share is the part of a pool's connections that a backend has.
type Share struct {
	Backend *backend.Backend
	Active  int64
	Weight  float64 // its share of the pool at this moment, from 0 to 1
}

// Shares returns the shares of those backends that new connections go to now, full ones included.
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
