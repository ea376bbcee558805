package balancer

import (
	"cmp"
	"slices"

	"l4proxy/internal/iheap"
)

// tier is the members of a pool that have one priority and one distance. Within it, they are known
// by their indexes.
type tier struct {
	priority  uint8
	far       bool
	members   members
	records   []*member
	chooser   chooser
	recounter recounter // nil if the chooser does not depend on connections

	limited   []bool      // has a MaxConnections
	available []bool      // in the chooser
	isFull    []bool      // would be available with fewer connections
	full      int         // how many are
	due       *iheap.Heap // in backoff: by the time of the next probe
	waiting   *iheap.Heap // in backoff or ejected: by the last time it was tried
}

// newTiers sorts the members into tiers, the first to serve first.
func newTiers(order []*member, unit uint32, build func(*members) chooser) []*tier {
	var tiers []*tier
	sorted := slices.Clone(order)
	slices.SortStableFunc(sorted, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), change(b.Far, a.Far))
	})
	for i, m := range sorted {
		if i == 0 || m.Priority != sorted[i-1].Priority || m.Far != sorted[i-1].Far {
			tiers = append(tiers, &tier{priority: m.Priority, far: m.Far})
		}
		t := tiers[len(tiers)-1]
		m.tier, m.index = t, len(t.records)
		t.records = append(t.records, m)
		t.members.backends = append(t.members.backends, m.Backend)
		t.members.full = append(t.members.full, uint32(m.Weight)*unit)
		t.limited = append(t.limited, m.MaxConnections > 0)
	}
	for _, t := range tiers {
		n := len(t.records)
		t.members.weights = slices.Clone(t.members.full)
		t.available, t.isFull = make([]bool, n), make([]bool, n)
		t.due, t.waiting = iheap.New(n), iheap.New(n)
		t.chooser = build(&t.members)
		t.recounter, _ = t.chooser.(recounter)
	}
	return tiers
}

// setAvailable puts i among those that the policy chooses from, or takes it out.
func (t *tier) setAvailable(i int, available bool) {
	if t.available[i] == available {
		return
	}
	t.available[i] = available
	if available {
		t.chooser.add(i)
	} else {
		t.chooser.remove(i)
	}
}

func (t *tier) setFull(i int, full bool) {
	if t.isFull[i] == full {
		return
	}
	t.isFull[i] = full
	t.full += change(!full, full)
}

// setDue sets whether m, which is in backoff, may be probed in its time.
func (t *tier) setDue(m *member, may bool) {
	switch {
	case may == t.due.Has(m.index):
	case may:
		t.due.Set(m.index, uint64(m.BackoffUntil()), m.turn)
	default:
		t.due.Remove(m.index)
	}
}

// setWaiting sets whether m may be tried when no other is left.
func (t *tier) setWaiting(m *member, may bool) {
	switch {
	case may == t.waiting.Has(m.index):
	case may:
		t.waiting.Set(m.index, m.turn, 0)
	default:
		t.waiting.Remove(m.index)
	}
}

// setWeight changes the effective weight of i.
func (t *tier) setWeight(i int, weight uint32) {
	if t.members.weights[i] == weight {
		return
	}
	available := t.available[i]
	t.setAvailable(i, false)
	t.members.weights[i] = weight
	t.setAvailable(i, available)
}

// recount follows a change of the connections of i that is not a pick.
func (t *tier) recount(i int) {
	if t.recounter != nil && t.available[i] {
		t.recounter.recount(i)
	}
}

// reschedule moves m, which was tried or has just failed, to where its next probe belongs in time,
// and to the end of those waiting.
func (p *Balancer) reschedule(m *member) {
	p.turns++
	m.turn = p.turns
	if t := m.tier; t.due.Has(m.index) {
		t.due.Set(m.index, uint64(m.BackoffUntil()), m.turn)
	}
	if t := m.tier; t.waiting.Has(m.index) {
		t.waiting.Set(m.index, m.turn, 0)
	}
}

// probe returns the index of a backend whose backoff has run out, for one connection to try; -1 if
// there is none.
func (p *Balancer) probe(t *tier, now int64) int {
	i := t.due.Min()
	if i < 0 || !t.records[i].Probe(now) {
		return -1
	}
	p.reschedule(t.records[i])
	return i
}

// lastResort returns the index of the backend that was not tried for longest, whether its backoff
// has run out or not: when no other is left, a refusal costs the client nothing. Taking turns finds
// the first one that is back, also when there are more of them than a client has attempts.
func (p *Balancer) lastResort(t *tier, now int64, tried []int) int {
	i := t.waiting.MinExcept(tried)
	if i < 0 {
		return -1
	}
	t.records[i].Probe(now) // its dial is the probe if one is due
	p.reschedule(t.records[i])
	return i
}

// probeEnded ends the probe of m if its connection is known to have ended. A connection that ends
// beside others may be any of them: then the probe ends with its result or with its lease.
func (p *Balancer) probeEnded(m *member) {
	if m.Active() == 0 && m.EndProbe() && m.tier.due.Has(m.index) {
		m.tier.due.Set(m.index, uint64(m.BackoffUntil()), m.turn)
	}
}
