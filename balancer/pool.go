package balancer

import (
	"slices"
	"sync"

	"l4proxy/backend"
)

// chooser is the part in which policies differ: which of the available
// backends is next. It is called under the pool's lock. Backends are named by
// their index, and all are available at first.
type chooser interface {
	// next returns the available backend whose turn it is, without those in
	// tried; -1 if there is none. It changes nobody's turn.
	next(tried []*backend.Backend) int
	// picked follows next, when the connection has been counted.
	picked(i int)
	// add makes i available again.
	add(i int)
	// remove takes the available i out.
	remove(i int)
}

// releaser is a chooser whose order depends on the number of connections.
type releaser interface {
	// released follows each connection of the available i that has ended.
	released(i int)
}

// pool is a Policy: a chooser with what all of them share. One lock holds
// choosing and counting together, so that two loops never count on the same
// stale minimum. It is taken per connection, never per event.
type pool struct {
	mu       sync.Mutex
	backends []*backend.Backend
	chooser  chooser
	releaser releaser // nil if the chooser does not care
	aside    *availability
}

func newPool(backends []*backend.Backend, c chooser) *pool {
	p := &pool{backends: backends, chooser: c, aside: newAvailability(backends)}
	p.releaser, _ = c.(releaser)
	return p
}

func (p *pool) Pick(now int64, tried []*backend.Backend) *backend.Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A client is the probe with its first attempt only. With the later ones
	// it must get through while anybody can serve it.
	if len(tried) == 0 {
		if b := p.aside.probe(now); b != nil {
			b.Acquire()
			return b
		}
	}
	if i := p.chooser.next(tried); i >= 0 {
		b := p.backends[i]
		b.Acquire()
		p.chooser.picked(i)
		return b
	}
	b := p.aside.lastResort(now, tried)
	if b != nil {
		b.Acquire()
	}
	return b
}

func (p *pool) Done(b *backend.Backend) {
	if p.releaser == nil && !b.LeftAside() {
		b.Release()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left := b.Release()
	switch {
	case b.LeftAside():
		p.aside.released(b, left)
	case p.releaser != nil:
		p.releaser.released(b.Index)
	}
}

func (p *pool) Failed(b *backend.Backend, now int64) {
	b.DialFailed()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.LeftAside() {
		p.chooser.remove(b.Index)
	}
	p.aside.fail(b, now)
}

func (p *pool) OK(b *backend.Backend) {
	b.DialOK()
	if !b.LeftAside() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.aside.recover(b) {
		p.chooser.add(b.Index)
	}
}

// in reports whether b is one of tried.
func in(tried []*backend.Backend, b *backend.Backend) bool {
	return slices.Contains(tried, b)
}
