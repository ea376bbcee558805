package balancer

import (
	"slices"
	"sync"

	"l4proxy/backend"
)

// Balancer picks the backends of one pool. Any goroutine may call its methods.
// A backend belongs to one Balancer: a connection gives back what it picked to
// the Balancer that it got it from, also when its pool has a new one.
//
// The life of an attempt is Pick, then OK or Failed if there was a verdict,
// then Done. Times are int64 nanoseconds of one monotonic clock.
//
// One lock holds choosing and counting together, so that two loops never count
// on the same stale minimum. It is taken per connection, never per event.
type Balancer struct {
	options  Options
	hashes   bool // the policy looks at the client's address
	hashSeed *seed
	counts   bool // the policy's order depends on the connections

	mu       sync.Mutex
	backends []*backend.Backend
	members  []member // by Backend.Index
	tiers    []*tier  // the one that serves first is first
	standing standing
	ejected  []int // indexes
	rising   []int // indexes of those that start slowly
	onTrial  []int // indexes; see trial.go
	queue    queue
	scratch  []int  // of places
	nowhere  uint64 // stands for the hash of a client without an address

	// What is told when the lock has been given back.
	grants []grant
	events []Event
}

func newBalancer(backends []*backend.Backend, o Options, build func(*members, chooserOptions) chooser, unit uint32) *Balancer {
	p := &Balancer{
		options:  o,
		hashes:   slices.Contains(hashing, o.Policy),
		hashSeed: hashSeed(o.HashSeed),
		backends: backends,
		members:  make([]member, len(backends)),
	}
	p.tiers = newTiers(backends, p.members, unit, func(m *members) chooser {
		return build(m, chooserOptions{Seed: o.Seed, HashSeed: p.hashSeed, MaxLoad: o.MaxLoad})
	})
	for _, t := range p.tiers {
		p.counts = p.counts || t.releaser != nil
	}
	for i := range backends {
		p.refresh(i)
	}
	p.judge()
	return p
}

// unlock gives the lock back, and tells what has happened under it.
func (p *Balancer) unlock() {
	grants, events := p.grants, p.events
	p.grants, p.events = nil, nil
	p.mu.Unlock()
	for _, g := range grants {
		g.waiter.Granted(g.backend)
	}
	if p.options.Notify != nil {
		for _, e := range events {
			p.options.Notify(e)
		}
	}
}

// Pick chooses a backend and counts the connection on it in one step. It never
// returns one that the client has tried.
func (p *Balancer) Pick(r Request) (*backend.Backend, Verdict) {
	p.mu.Lock()
	defer p.unlock()
	if r.Beside != nil {
		return p.pickBeside(&r)
	}
	key, waits := p.key(&r), r.Waiter != nil && p.options.Queue > 0
	b := p.choose(r.Now, key, r.Tried, waits, !r.OnlyAvailable)
	if b == nil && waits && p.full() && !p.queue.hasRoom(&r, p.options.Queue) {
		b = p.choose(r.Now, key, r.Tried, false, !r.OnlyAvailable) // rather a backup than nobody
	}
	mustWait := waits && (p.full() || p.queue.len() > 0) // who waits already is not overtaken
	if b == nil && !r.OnlyAvailable && !mustWait {
		b = p.lastResort(r.Now, r.Tried)
	}
	switch {
	case b != nil:
		return b, Picked
	case mustWait, waits && r.WaitForAny:
		return nil, p.enqueue(&r, key)
	}
	return nil, NoBackend
}

// pickBeside picks for a second dial: an available backend of the same tier.
func (p *Balancer) pickBeside(r *Request) (*backend.Backend, Verdict) {
	n := p.members[r.Beside.Index].tier
	i := p.tiers[n].chooser.next(request{key: p.key(r), tried: p.places(n, r.Tried)})
	if i < 0 {
		return nil, NoBackend
	}
	return p.count(p.tiers[n], i), Picked
}

// key is the hash of the client, 0 where nobody looks at it. Clients of which
// nothing is known are spread.
func (p *Balancer) key(r *Request) uint64 {
	if !p.hashes {
		return 0
	}
	if r.Client.IsValid() {
		return clientKey(r.Client, p.hashSeed)
	}
	p.nowhere += golden // consecutive multiples spread evenly over 2^64
	return p.nowhere
}

// choose picks a backend of the first tier that has one, and counts.
func (p *Balancer) choose(now int64, key uint64, tried []*backend.Backend, waits, probes bool) *backend.Backend {
	for n, t := range p.tiers {
		// A client is the probe with its first attempt only. With the later
		// ones it must get through while anybody can serve it.
		if probes && len(tried) == 0 {
			if i := t.probe(now); i >= 0 {
				return p.count(t, i)
			}
			if len(p.onTrial) > 0 {
				if i := p.trialOf(n, now); i >= 0 {
					return p.count(t, i)
				}
			}
		}
		if i := t.chooser.next(request{key: key, tried: p.places(n, tried)}); i >= 0 {
			return p.count(t, i)
		}
		if waits && p.waitsHere(n) {
			break
		}
	}
	return nil
}

// lastResort picks one that is left aside or ejected, when there is no other.
func (p *Balancer) lastResort(now int64, tried []*backend.Backend) *backend.Backend {
	for n, t := range p.tiers {
		if i := t.lastResort(now, p.places(n, tried)); i >= 0 {
			return p.count(t, i)
		}
	}
	return nil
}

// waitsHere reports whether a client waits for a place in tier n, the last of
// its priority, or one before it, rather than going on to the backups.
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

// full reports whether anybody could serve, were there a place.
func (p *Balancer) full() bool {
	return slices.ContainsFunc(p.tiers, func(t *tier) bool { return t.full > 0 })
}

// count counts one more connection at place i of t.
func (p *Balancer) count(t *tier, i int) *backend.Backend {
	b := t.members.backends[i]
	limited := b.MaxConnections > 0 // on another cache line than the counters: fetched together
	b.Acquire()
	if t.available[i] {
		t.chooser.picked(i)
	}
	if limited {
		p.refresh(b.Index)
	}
	return b
}

// places are the places in tier n of some backends. They are good until the next
// call.
func (p *Balancer) places(n int, tried []*backend.Backend) []int {
	p.scratch = p.scratch[:0]
	for _, b := range tried {
		if b.Index < len(p.backends) && p.backends[b.Index] == b && p.members[b.Index].tier == n {
			p.scratch = append(p.scratch, p.members[b.Index].place)
		}
	}
	return p.scratch
}

// Done takes back what Pick counted, when the connection or the attempt has
// ended.
func (p *Balancer) Done(b *backend.Backend, now int64) {
	if !p.counts && b.MaxConnections == 0 && !b.InBackoff() {
		b.Release()
		return
	}
	p.mu.Lock()
	defer p.unlock()
	t, i := p.at(b)
	left := b.Release()
	switch {
	case b.InBackoff():
		t.probeEnded(i, left)
	case t.available[i] && t.releaser != nil:
		t.releaser.released(i)
	}
	if b.MaxConnections > 0 {
		p.refresh(b.Index)
		p.serveQueue(now)
	}
}

// at is where b is.
func (p *Balancer) at(b *backend.Backend) (t *tier, place int) {
	m := &p.members[b.Index]
	return p.tiers[m.tier], m.place
}

// Failed tells that a dial to b, which began at some time, was refused or timed
// out. A local error, such as no free source port, says nothing about b: only
// Done follows.
func (p *Balancer) Failed(b *backend.Backend, began, now int64) {
	b.DialFailed()
	p.mu.Lock()
	defer p.unlock()
	p.leaveAside(b, began, now)
	p.suspect(b, began, now, 0)
	p.serveQueue(now)
}

func (p *Balancer) leaveAside(b *backend.Backend, began, now int64) {
	if !b.Fail(began, now) {
		return
	}
	p.refresh(b.Index)
	t, i := p.at(b)
	t.reschedule(i)
	if b.Failures() == 1 {
		p.tell(Event{Kind: BackedOff, Backend: b, Now: now, Until: b.BackoffUntil(), Count: 1})
	}
}

// TooSlow tells that another backend answered a dial that began later, while b
// had not answered: b is left aside as if its dial had timed out. That is no
// failure for which it could be ejected.
func (p *Balancer) TooSlow(b *backend.Backend, began, now int64) {
	b.DialFailed()
	p.mu.Lock()
	defer p.unlock()
	p.leaveAside(b, began, now)
	p.serveQueue(now)
}

// OK tells that a dial to b was answered.
func (p *Balancer) OK(b *backend.Backend, now int64) {
	b.DialOK()
	if !b.InBackoff() {
		return
	}
	p.mu.Lock()
	defer p.unlock()
	p.recover(b, now)
	p.serveQueue(now)
}

// recover brings b back that was left aside.
func (p *Balancer) recover(b *backend.Backend, now int64) {
	failures := b.Failures()
	if !b.Recover(now) {
		return
	}
	if failures > 1 { // else it had hiccups: it was away for no more than MinBackoff
		p.startSlowly(b.Index, now)
	}
	p.refresh(b.Index)
	p.tell(Event{Kind: Recovered, Backend: b, Now: now, Count: failures})
}

// SetHealth acts on what the checks of b have settled.
func (p *Balancer) SetHealth(b *backend.Backend, h backend.Health, now int64) {
	p.mu.Lock()
	defer p.unlock()
	was := b.Health()
	if was == h {
		return
	}
	b.SetHealth(h)
	if h == backend.HealthUp {
		p.recover(b, now) // the checks have dialled it
	}
	if was == backend.HealthDown {
		p.startSlowly(b.Index, now)
	}
	p.refresh(b.Index)
	p.judge()
	p.serveQueue(now)
}

// Tick does what is due by time alone: it ends ejections, raises the weight of
// those that start slowly, and lets the first in the queue probe. It reports
// whether it has to be called again; every 100 ms is often enough.
func (p *Balancer) Tick(now int64) (again bool) {
	p.mu.Lock()
	defer p.unlock()
	p.endEjections(now)
	p.raise(now)
	p.serveQueue(now)
	return len(p.ejected) > 0 || len(p.rising) > 0 || p.queue.len() > 0
}

func (p *Balancer) tell(e Event) {
	if p.options.Notify != nil {
		p.events = append(p.events, e)
	}
}
