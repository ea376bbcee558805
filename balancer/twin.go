package balancer

import (
	"container/list"

	"l4proxy/backend"
)

// twin is a copy of a Balancer that picks as the Balancer would, with copies of its backends: a
// pick from it counts nothing, moves no turn and draws no number of the Balancer itself.
type twin struct {
	Balancer
	backends []backend.Backend
	records  []member
	live     []*backend.Backend // what backends are copies of
	clients  int                // in the queue
}

// twin copies p. The lock is held for a fraction of the time that an Update takes: the memory is
// allocated before, and what is large and never changes (the tables of the hash policies) is
// shared.
func (p *Balancer) twin() *twin {
	for {
		p.mu.Lock()
		n := len(p.order)
		p.mu.Unlock()
		if t := makeTwin(n); t.copy(p) {
			t.finish()
			return t
		}
	}
}

// makeTwin allocates for n members.
func makeTwin(n int) *twin {
	return &twin{backends: make([]backend.Backend, n), records: make([]member, n), live: make([]*backend.Backend, n)}
}

// copy does what needs the lock. It reports whether t has the right size.
func (t *twin) copy(p *Balancer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.order) != len(t.records) {
		return false
	}
	tiers := make(map[*tier]*tier, len(p.tiers))
	for _, old := range p.tiers {
		tiers[old] = old.twin()
		t.tiers = append(t.tiers, tiers[old])
	}
	for i, old := range p.order {
		old.CopyTo(&t.backends[i])
		t.live[i] = old.Backend
		m := &t.records[i]
		*m = *old
		m.Backend, m.tier, m.silences = &t.backends[i], tiers[old.tier], nil
		m.tier.records[m.index], m.tier.members.backends[m.index] = m, m.Backend
	}
	for _, old := range p.ejected {
		t.ejected = append(t.ejected, tiers[old.tier].records[old.index])
	}
	for _, old := range p.onTrial {
		t.onTrial = append(t.onTrial, tiers[old.tier].records[old.index])
	}
	t.options, t.hashes = p.options, p.hashes
	t.active.Store(p.active.Load())
	if p.hashes {
		t.hashSeed = new(*p.hashSeed) // it has room for one hash at a time
	}
	t.standing, t.turns, t.nowhere = p.standing, p.turns, p.nowhere
	t.clients = p.queue.len()
	return true
}

// finish does the rest.
func (t *twin) finish() {
	t.followsEnds.Store(true)
	t.members = make(map[*backend.Backend]*member, len(t.records))
	t.order = make([]*member, len(t.records))
	for i := range t.records {
		t.order[i] = &t.records[i]
		t.members[t.records[i].Backend] = t.order[i]
	}
	t.queue = queue{waiting: list.New(), entries: make(map[Waiter]*list.Element)}
	for range t.clients {
		t.queue.waiting.PushBack(queued{waiter: new(nowhere), tired: true})
	}
}

// twin copies what changes. The records are filled in by the caller.
func (t *tier) twin() *tier {
	n := len(t.records)
	twin := &tier{
		priority:  t.priority,
		far:       t.far,
		members:   members{make([]*backend.Backend, n), append([]uint32(nil), t.members.weights...), t.members.full},
		records:   make([]*member, n),
		limited:   t.limited,
		available: append([]bool(nil), t.available...),
		isFull:    append([]bool(nil), t.isFull...),
		full:      t.full,
		due:       t.due.Clone(),
		waiting:   t.waiting.Clone(),
	}
	twin.chooser = t.chooser.clone(&twin.members)
	twin.recounter, _ = twin.chooser.(recounter)
	return twin
}

// nowhere is a client in the queue of a twin.
type nowhere struct{ _ byte }

// Granted implements [Waiter].
func (*nowhere) Granted(*backend.Backend) {}
