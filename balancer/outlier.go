package balancer

import (
	"net/netip"
	"slices"
	"time"

	"l4proxy/backend"
)

// Outlier configures when a backend is ejected because its connections fail, whatever its health
// checks say.
type Outlier struct {
	// Failures is how many dials and connections have to fail in a row.
	Failures int
	// Eject is how long the first ejection lasts. Each that follows soon lasts that much longer
	// than the one before, up to maxEjection or Eject if that is longer.
	Eject time.Duration
	// MaxEjected is a share of the pool's backends that are not drained, in percent. No backend is
	// ejected if that would make a larger share ejected at the same time.
	MaxEjected int
}

// maxEjection bounds the growth of ejections.
const maxEjection = 5 * time.Minute

// Ejects reports whether the pool ejects backends, so that their answers are worth noting. It takes
// no lock.
func (p *Balancer) Ejects() bool { return p.ejects.Load() }

// Silence is a connection on which no byte has come from the backend.
type Silence struct {
	Client netip.Addr // the zero value for a client on a unix socket
	Asked  int64      // when the client began to wait
	Now    int64
	// Once is the time in which all silences of one client count as one, so that a few clients
	// cannot eject a backend for all others. With 0, each counts: the backend itself ended the
	// connection.
	Once time.Duration
}

// Silent reports a silence for which b is to blame, as far as the connection shows. It returns
// whether the silence counts as a failure of b. It does not if b has answered any client since this
// one began to wait.
func (p *Balancer) Silent(b *backend.Backend, s Silence) (counted bool) {
	if !p.Ejects() || b.AnsweredSince(s.Asked) {
		return false
	}
	p.mu.Lock()
	defer p.unlock()
	m := p.members[b]
	if m == nil || s.Once > 0 && !m.firstSilence(s) {
		return false
	}
	p.suspect(m, s.Asked, s.Now, s.Once)
	p.serveQueue(s.Now)
	return true
}

// silence is a silence that was counted.
type silence struct {
	client netip.Addr
	at     int64
}

// maxSilences bounds the silences that are kept per backend. A backend with more failures in so
// short a time is ejected already, or max_ejected forbids it.
const maxSilences = 64

// firstSilence reports whether no silence of the client was counted recently, and if so, notes this
// one. All addresses of an IPv6 /64 are one client.
func (m *member) firstSilence(s Silence) bool {
	client := s.Client
	if client.Is6() {
		client = netip.PrefixFrom(client, 64).Masked().Addr()
	}
	m.silences = slices.DeleteFunc(m.silences, func(old silence) bool { return s.Now-old.at >= int64(s.Once) })
	if slices.ContainsFunc(m.silences, func(old silence) bool { return old.client == client }) {
		return false
	}
	if len(m.silences) == maxSilences {
		m.silences = slices.Delete(m.silences, 0, 1)
	}
	m.silences = append(m.silences, silence{client, s.Now})
	return true
}

// suspect counts a failure of m towards a client that has waited since asked, and ejects m if that
// is one too many. An answer (see [backend.Backend.Answered]) resets the count. An answer that came
// while the client waited shows that the backend works, even if it is reported before the failure.
//
// Clients that wait (once > 0) do not eject it alone: see tryOut. A drained backend is never
// ejected: it gets no clients, and so none that could try it out.
func (p *Balancer) suspect(m *member, asked, now int64, once time.Duration) {
	o := p.options.Outlier
	if o == nil || m.drained || m.Ejected() || m.AnsweredSince(asked) {
		return
	}
	failures := m.CountFailure()
	if failures == 1 {
		m.trial = trial{}
	}
	if failures < o.Failures || (len(p.ejected)+1)*100 > o.MaxEjected*p.inService() {
		return
	}
	if once > 0 && p.tryOut(m, asked, now, once) {
		return
	}
	m.trial = trial{}
	n := 1
	if m.lastEjection > 0 && now-m.returned <= 2*m.lastEjection {
		n = m.Ejections() + 1
	}
	m.lastEjection = min(int64(o.Eject)*int64(n), max(int64(o.Eject), int64(maxEjection)))
	m.NoteEjection(now)
	m.Eject(now+m.lastEjection, n)
	p.ejected = append(p.ejected, m)
	p.ejections++
	p.refresh(m)
	p.reschedule(m)
	p.judge()
	p.report(Event{Kind: Ejected, Backend: m.Backend, Now: now, Until: m.EjectedUntil(), Count: failures})
}

// endEjections ends the ejections whose time is over.
func (p *Balancer) endEjections(now int64) {
	over := func(m *member) bool { return m.EjectedUntil() <= now }
	if !slices.ContainsFunc(p.ejected, over) {
		return
	}
	back := slices.DeleteFunc(slices.Clone(p.ejected), func(m *member) bool { return !over(m) })
	p.ejected = slices.DeleteFunc(p.ejected, over)
	for _, m := range back {
		m.Return()
		m.returned = now
		p.startSlowly(m, now)
		p.refresh(m)
		p.report(Event{Kind: Returned, Backend: m.Backend, Now: now})
	}
	p.judge()
}
