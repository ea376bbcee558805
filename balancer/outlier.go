package balancer

import (
	"net/netip"
	"slices"
	"time"

	"l4proxy/backend"
)

// Outlier says when a backend is ejected because its connections fail, whatever
// its health checks say.
type Outlier struct {
	// Failures is how many dials and connections have to fail in a row.
	Failures int
	// Eject is how long the first ejection lasts. Each that follows soon lasts
	// longer by as much, up to maxEjection or Eject if that is longer.
	Eject time.Duration
	// MaxEjected is the largest share of the pool that may be ejected at the
	// same time, in percent.
	MaxEjected int
}

// maxEjection bounds the growth of ejections.
const maxEjection = 5 * time.Minute

// Ejects reports whether the pool ejects backends, so that their answers are
// worth noting.
func (p *Balancer) Ejects() bool { return p.options.Outlier != nil }

// Silence is a connection on which no byte has come from the backend.
type Silence struct {
	Client netip.Addr // the zero value for a client on a unix socket
	Asked  int64      // when the client began to wait
	Now    int64
	// Once is the time in which all silences of one client count as one, so that
	// a few clients cannot eject a backend for all others. With 0, each counts:
	// the backend itself ended the connection.
	Once time.Duration
}

// Silent notes a silence that b is to blame for, as far as the connection shows.
// It reports whether the silence counts as a failure of b. It does not if b has
// answered any client since this one began to wait.
func (p *Balancer) Silent(b *backend.Backend, s Silence) (counted bool) {
	if p.options.Outlier == nil || b.AnsweredSince(s.Asked) {
		return false
	}
	p.mu.Lock()
	defer p.unlock()
	if s.Once > 0 && !p.members[b.Index].firstSilence(s) {
		return false
	}
	p.suspect(b, s.Asked, s.Now, s.Once)
	p.serveQueue(s.Now)
	return true
}

// silence is a silence that was counted.
type silence struct {
	client netip.Addr
	at     int64
}

// maxSilences bounds the silences that are kept per backend. A backend with more
// failures in so short a time is ejected already, or max_ejected forbids it.
const maxSilences = 64

// firstSilence reports whether no silence of the client was counted recently, and
// if so, notes this one. All addresses of an IPv6 /64 are one client.
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

// suspect counts a failure of b towards a client that has waited since asked, and
// ejects b if that is one too many. An answer (see [backend.Backend.Answered])
// resets the count. An answer that came while the client waited shows that b is
// well, even if it is reported before the failure.
//
// Clients that wait (once > 0) do not eject it alone: see tryOut.
func (p *Balancer) suspect(b *backend.Backend, asked, now int64, once time.Duration) {
	o := p.options.Outlier
	if o == nil || b.Ejected() || b.AnsweredSince(asked) {
		return
	}
	m := &p.members[b.Index]
	failures := b.CountFailure()
	if failures == 1 {
		m.trial = trial{}
	}
	if failures < o.Failures || (len(p.ejected)+1)*100 > o.MaxEjected*len(p.backends) {
		return
	}
	if once > 0 && p.tryOut(b, asked, now, once) {
		return
	}
	m.trial = trial{}
	n := 1
	if m.lastEjection > 0 && now-m.returned <= 2*m.lastEjection {
		n = b.Ejections() + 1
	}
	m.lastEjection = min(int64(o.Eject)*int64(n), max(int64(o.Eject), int64(maxEjection)))
	b.Eject(now+m.lastEjection, n)
	p.ejected = append(p.ejected, b.Index)
	p.refresh(b.Index)
	p.judge()
	p.tell(Event{Kind: Ejected, Backend: b, Now: now, Until: b.EjectedUntil(), Count: failures})
}

// endEjections brings those back whose time is over.
func (p *Balancer) endEjections(now int64) {
	over := func(i int) bool { return p.backends[i].EjectedUntil() <= now }
	if !slices.ContainsFunc(p.ejected, over) {
		return
	}
	back := slices.DeleteFunc(slices.Clone(p.ejected), func(i int) bool { return !over(i) })
	p.ejected = slices.DeleteFunc(p.ejected, over)
	for _, i := range back {
		b := p.backends[i]
		b.Return()
		p.members[i].returned = now
		p.startSlowly(i, now)
		p.refresh(i)
		p.tell(Event{Kind: Returned, Backend: b, Now: now})
	}
	p.judge()
}
