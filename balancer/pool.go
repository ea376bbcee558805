package balancer

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"l4proxy/backend"
)

// Balancer picks the backends of one pool. Any goroutine may call its methods. A backend belongs to
// one Balancer.
//
// The life of a dial is Pick, then OK or Failed if there was a result, then Done. Times are int64
// nanoseconds of one monotonic clock.
//
// One lock holds choosing and counting together, so that two loops never count on the same stale
// minimum. It is taken per connection, never per event.
type Balancer struct {
	// What is read without the lock.
	followsEnds atomic.Bool // the end of a connection may make a difference to others
	ejects      atomic.Bool
	// active are the connections of the pool: those of its backends, and of backends that have left
	// it.
	active atomic.Int64

	mu sync.Mutex
	layout
	standing standing
	ejected  []*member
	rising   []*member // those that start slowly
	onTrial  []*member // see trial.go
	queue    queue
	turns    uint64 // counts those in which backends in backoff are tried
	nowhere  uint64 // stands for the hash of a client without an address
	observer func(Event)
	scratch  []int // of indexes
	// ejections and backoffs count those so far.
	ejections, backoffs uint64

	// What is delivered after the lock is released.
	grants []grant
	events []Event
}

// Observe sets the function that is called for each event, instead of the one before; nil sets
// none. The function must not block and must not call the Balancer. Any goroutine may call it, and
// those that have just changed something may still call the one before.
func (p *Balancer) Observe(f func(Event)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observer = f
}

func (p *Balancer) report(e Event) {
	if p.observer != nil {
		p.events = append(p.events, e)
	}
}

// unlock releases the lock, and delivers what has happened under it.
func (p *Balancer) unlock() {
	grants, events, observer := p.grants, p.events, p.observer
	p.grants, p.events = nil, nil
	p.mu.Unlock()
	for _, g := range grants {
		g.waiter.Granted(g.backend)
	}
	for _, e := range events {
		observer(e)
	}
}

// Pick chooses a backend and counts the connection on it in one step. It never returns one that the
// client has tried.
func (p *Balancer) Pick(r Request) (*backend.Backend, Verdict) {
	p.mu.Lock()
	defer p.unlock()
	if r.Beside != nil {
		return p.pickBeside(&r)
	}
	key, waits := p.key(&r.Client), r.Waiter != nil && p.options.Queue > 0
	b := p.choose(r.Now, key, r.Tried, waits, !r.OnlyAvailable)
	if b == nil && waits && p.full() && !p.queue.hasRoom(&r, p.options.Queue) {
		b = p.choose(r.Now, key, r.Tried, false, !r.OnlyAvailable) // a backup is better than none
	}
	mustWait := waits && (p.full() || p.queue.len() > 0) // those in the queue are not overtaken
	if b == nil && !r.OnlyAvailable && !mustWait && !p.atLimit() {
		b = p.anyLeft(r.Now, r.Tried)
	}
	switch {
	case b != nil:
		return b, Picked
	case mustWait, waits && r.WaitForAny:
		return nil, p.enqueue(&r)
	}
	return nil, NoBackend
}

// pickBeside picks for a second dial: an available backend of the same tier.
func (p *Balancer) pickBeside(r *Request) (*backend.Backend, Verdict) {
	m := p.members[r.Beside]
	if m == nil || p.atLimit() {
		return nil, NoBackend
	}
	i := m.tier.chooser.next(request{key: p.key(&r.Client), tried: p.indexes(m.tier, r.Tried)})
	if i < 0 {
		return nil, NoBackend
	}
	return p.count(m.tier, i), Picked
}

// key is the hash of a client, 0 if the policy does not look at it. Clients without an address are
// spread.
func (p *Balancer) key(client *netip.Addr) uint64 {
	if !p.hashes {
		return 0
	}
	if client.IsValid() {
		return clientKey(*client, p.hashSeed)
	}
	p.nowhere += golden // consecutive multiples spread evenly over 2^64
	return p.nowhere
}

// choose picks a backend of the first tier that has one, and counts.
func (p *Balancer) choose(now int64, key uint64, tried []*backend.Backend, waits, probes bool) *backend.Backend {
	if p.atLimit() {
		return nil
	}
	for n, t := range p.tiers {
		// Only the first attempt of a client may be a probe. The later ones must get through as
		// long as any backend can serve it.
		if probes && len(tried) == 0 {
			if i := p.probe(t, now); i >= 0 {
				return p.count(t, i)
			}
			if len(p.onTrial) > 0 {
				if i := p.trialOf(t, now); i >= 0 {
					return p.count(t, i)
				}
			}
		}
		if i := t.chooser.next(request{key: key, tried: p.indexes(t, tried)}); i >= 0 {
			return p.count(t, i)
		}
		if waits && p.waitsHere(n) {
			break
		}
	}
	return nil
}

// anyLeft picks a backend that is in backoff or ejected, when there is no other.
func (p *Balancer) anyLeft(now int64, tried []*backend.Backend) *backend.Backend {
	for _, t := range p.tiers {
		if i := p.lastResort(t, now, p.indexes(t, tried)); i >= 0 {
			return p.count(t, i)
		}
	}
	return nil
}

// waitsHere reports whether a client waits for a backend of tier n, the last of its priority, or of
// one before it, rather than continue with the backups.
func (p *Balancer) waitsHere(n int) bool {
	priority := p.tiers[n].priority
	if n+1 < len(p.tiers) && p.tiers[n+1].priority == priority {
		return false
	}
	for ; n >= 0 && p.tiers[n].priority == priority; n-- {
		if p.tiers[n].full > 0 {
			return true
		}
	}
	return false
}

// atLimit reports whether the pool has all the connections that it may have.
func (p *Balancer) atLimit() bool {
	most := p.options.MaxConnections
	return most > 0 && p.active.Load() >= most
}

// full reports whether any backend could serve if it, or the pool, had fewer connections.
func (p *Balancer) full() bool {
	return p.atLimit() || slices.ContainsFunc(p.tiers, func(t *tier) bool { return t.full > 0 })
}

// count counts one more connection on the backend i of t.
func (p *Balancer) count(t *tier, i int) *backend.Backend {
	b := t.members.backends[i]
	b.Acquire()
	p.active.Add(1)
	if t.available[i] {
		t.chooser.picked(i)
	}
	if t.limited[i] { // for most, no look at the record and its cache lines
		p.refresh(t.records[i])
	}
	return b
}

// indexes are the indexes in t of those backends that are in it. They are valid until the next
// call.
func (p *Balancer) indexes(t *tier, backends []*backend.Backend) []int {
	p.scratch = p.scratch[:0]
	for _, b := range backends {
		if m := p.members[b]; m != nil && m.tier == t {
			p.scratch = append(p.scratch, m.index)
		}
	}
	return p.scratch
}
