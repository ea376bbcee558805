package balancer

import (
	"slices"
	"time"
)

// Clients that wait for an answer accuse their backend only as long as it does not answer others. A
// policy that looks at the connections sends no others: the clients that wait make the backend the
// busiest. So before such a backend is ejected, it gets a trial: the next client goes there. If
// that client is answered, the accusation is void. If it has to wait too, the backend is ejected.

// trial is the time of a backend between the last failure that was needed to eject it and its
// ejection.
type trial struct {
	on    bool
	since int64         // a client that asked later decides
	next  int64         // when another client is sent, if none has decided
	every time.Duration // between two clients
}

// tryOut reports whether m gets a trial, rather than an ejection, because of a client that has
// waited since asked. A backend that is full gets no more clients and so no trial.
func (p *Balancer) tryOut(m *member, asked, now int64, once time.Duration) bool {
	switch {
	case m.full():
		return false
	case !m.trial.on:
		m.trial = trial{on: true, since: now, next: now, every: once}
		if !slices.Contains(p.onTrial, m) {
			p.onTrial = append(p.onTrial, m)
		}
		return true
	}
	return asked < m.trial.since
}

// trialOf picks a backend of t that is on trial, if it is time to send it a client. It returns its
// index in the tier, -1 for none.
func (p *Balancer) trialOf(t *tier, now int64) (index int) {
	index = -1
	p.onTrial = slices.DeleteFunc(p.onTrial, func(m *member) bool {
		if !m.trial.on || !m.Suspect() || m.Ejected() {
			m.trial = trial{}
			return true
		}
		if index < 0 && m.tier == t && t.available[m.index] && now >= m.trial.next {
			index = m.index
			m.trial.next = now + int64(m.trial.every)
		}
		return false
	})
	return index
}
