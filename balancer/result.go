package balancer

import "l4proxy/backend"

// A report about a backend that has left the pool is counted on the backend, and makes no
// difference to the pool.

// Done takes back what Pick or Adopt counted, when the connection or the dial has ended.
func (p *Balancer) Done(b *backend.Backend, now int64) {
	quiet := func() bool { return !p.followsEnds.Load() && !b.InBackoff() }
	if quiet() {
		p.release(b)
		// An Update or a failed dial that came between has counted this connection: only then does
		// its end make a difference.
		if quiet() {
			return
		}
		p.mu.Lock()
		defer p.unlock()
	} else {
		p.mu.Lock()
		defer p.unlock()
		p.release(b)
	}
	m := p.members[b]
	switch {
	case m == nil:
	case b.InBackoff():
		p.probeEnded(m)
	default:
		m.tier.recount(m.index)
	}
	limited := m != nil && m.MaxConnections > 0
	if limited {
		p.refresh(m)
	}
	if limited || p.options.MaxConnections > 0 {
		p.serveQueue(now)
	}
}

// release takes back what count or Adopt has counted, for the backend and for the pool.
func (p *Balancer) release(b *backend.Backend) {
	b.Release()
	p.active.Add(-1)
}

// Adopt counts a connection that another process hands over, even beyond MaxConnections. Done ends
// it.
func (p *Balancer) Adopt(b *backend.Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Acquire()
	p.active.Add(1)
	if m := p.members[b]; m != nil {
		m.tier.recount(m.index)
		p.refresh(m)
	}
}

// Failed reports that a dial to b, which began at the given time, was refused or timed out. A local
// error, such as no free source port, says nothing about b: then only Done follows.
func (p *Balancer) Failed(b *backend.Backend, began, now int64) {
	b.DialFailed()
	p.mu.Lock()
	defer p.unlock()
	if m := p.members[b]; m != nil {
		p.backOff(m, began, now)
		p.suspect(m, began, now, 0)
		p.serveQueue(now)
	}
}

// TooSlow reports that another backend answered a dial that began later, while b had not answered.
// b goes into backoff as if its dial had timed out, but the dial does not count towards its
// ejection.
func (p *Balancer) TooSlow(b *backend.Backend, began, now int64) {
	b.DialFailed()
	p.mu.Lock()
	defer p.unlock()
	if m := p.members[b]; m != nil {
		p.backOff(m, began, now)
		p.serveQueue(now)
	}
}

// backOff puts m in backoff, if the failed dial counts.
func (p *Balancer) backOff(m *member, began, now int64) {
	if !m.Fail(began, now) {
		return
	}
	p.refresh(m)
	p.reschedule(m)
	if m.Failures() == 1 {
		p.backoffs++
		p.report(Event{Kind: BackedOff, Backend: m.Backend, Now: now, Until: m.BackoffUntil(), Count: 1})
	}
}

// OK reports that a dial to b was answered.
func (p *Balancer) OK(b *backend.Backend, now int64) {
	b.DialOK()
	if !b.InBackoff() {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	if m := p.members[b]; m != nil {
		p.recover(m, now)
		p.serveQueue(now)
	}
}

// recover ends the backoff of m.
func (p *Balancer) recover(m *member, now int64) {
	failures := m.Failures()
	if !m.Recover(now) {
		return
	}
	if failures > 1 { // with one failure it was away for no more than MinBackoff
		p.startSlowly(m, now)
	}
	p.refresh(m)
	p.report(Event{Kind: Recovered, Backend: m.Backend, Now: now, Count: failures})
}

// SetHealth sets the health of b, which its checks have found.
func (p *Balancer) SetHealth(b *backend.Backend, h backend.Health, now int64) {
	p.mu.Lock()
	defer p.unlock()
	was := b.Health()
	b.SetHealth(h)
	m := p.members[b]
	if m == nil || was == h {
		return
	}
	if h == backend.HealthUp {
		p.recover(m, now) // the checks have dialled it
	}
	if was == backend.HealthDown {
		p.startSlowly(m, now)
	}
	p.refresh(m)
	p.judge()
	p.serveQueue(now)
}

// SetAdmin sets what the operator wants of b. A backend that is not up gets no client, by no way at
// all: no probe, no trial, no panic mode and no queue leads there. Its connections stay. When it is
// up again, it starts slowly, like one that was down.
func (p *Balancer) SetAdmin(b *backend.Backend, a backend.Admin, now int64) {
	p.mu.Lock()
	defer p.unlock()
	was := b.Admin()
	b.SetAdmin(a)
	m := p.members[b]
	if m == nil || was == a {
		return
	}
	m.trial = trial{}
	if a == backend.AdminUp {
		p.startSlowly(m, now)
	}
	p.refresh(m)
	p.judge()
	p.serveQueue(now)
}

// Tick does what is due by time alone: it ends ejections, raises the weights of backends that start
// slowly, and lets the first client in the queue probe. It reports whether it has to be called
// again; every 100 ms is often enough.
func (p *Balancer) Tick(now int64) (again bool) {
	p.mu.Lock()
	defer p.unlock()
	p.endEjections(now)
	p.raise(now)
	p.serveQueue(now)
	return len(p.ejected) > 0 || len(p.rising) > 0 || p.queue.len() > 0
}
