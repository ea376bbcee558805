package balancer

import (
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

// Silent tells that a connection to b has ended without a byte from it, in a
// way that b is to blame for. What is not to be blamed on b is not told.
func (p *Balancer) Silent(b *backend.Backend, now int64) {
	if p.options.Outlier == nil {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	p.suspect(b, now)
	p.serveQueue(now)
}

// suspect counts a failure of b, and ejects it if that is one too many. A byte
// from it, see [backend.Backend.Answered], begins the count anew.
func (p *Balancer) suspect(b *backend.Backend, now int64) {
	o := p.options.Outlier
	if o == nil || b.Ejected() {
		return
	}
	failures := b.CountFailure()
	if failures < o.Failures || (len(p.ejected)+1)*100 > o.MaxEjected*len(p.backends) {
		return
	}
	m := &p.members[b.Index]
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
