package balancer

import (
	"slices"
	"time"

	"l4proxy/backend"
)

// Clients that wait for an answer accuse their backend only as long as it does
// not answer others. A policy that looks at the connections sends no others: the
// clients that wait make the backend the busiest. So before it is ejected for
// them, it is tried out: the next client goes there. If that one is answered,
// the accusation is void; if it has to wait too, the backend is ejected.

// trial is the time of a backend between the last failure that was needed to
// eject it and its ejection.
type trial struct {
	on    bool
	since int64         // a client that has asked later decides
	next  int64         // when another client is sent, if none has decided
	every time.Duration // between two clients
}

// tryOut reports whether the backend is to be tried out, rather than ejected for
// a client that waits since asked. A backend that is full gets no other client.
func (p *Balancer) tryOut(b *backend.Backend, asked, now int64, once time.Duration) bool {
	m := &p.members[b.Index]
	switch {
	case b.MaxConnections > 0 && b.Active() >= int64(b.MaxConnections):
		return false
	case !m.trial.on:
		m.trial = trial{on: true, since: now, next: now, every: once}
		if !slices.Contains(p.onTrial, b.Index) {
			p.onTrial = append(p.onTrial, b.Index)
		}
		return true
	}
	return asked < m.trial.since
}

// trialOf picks a backend of tier n that is on trial, if it is time to send it a
// client. It returns its place in the tier, -1 for none.
func (p *Balancer) trialOf(n int, now int64) (place int) {
	place = -1
	p.onTrial = slices.DeleteFunc(p.onTrial, func(i int) bool {
		b, m := p.backends[i], &p.members[i]
		if !m.trial.on || !b.Suspect() || b.Ejected() {
			m.trial = trial{}
			return true
		}
		if t := p.tiers[n]; place < 0 && m.tier == n && t.available[m.place] && now >= m.trial.next {
			place = m.place
			m.trial.next = now + int64(m.trial.every)
		}
		return false
	})
	return place
}
