package balancer

import (
	"cmp"
	"slices"

	"l4proxy/backend"
	"l4proxy/internal/iheap"
)

// tier is those backends of a pool that have one priority and one distance. It
// knows them by their places in members.
type tier struct {
	priority uint8
	members  members
	chooser  chooser
	releaser releaser // nil if the chooser does not care

	available []bool      // in the chooser
	isFull    []bool      // would be available, were there a place
	full      int         // how many are
	due       *iheap.Heap // left aside: by the time of the next probe
	waiting   *iheap.Heap // left aside or ejected: by the last time it was tried
	turn      uint64
}

// newTiers sorts the backends into tiers and notes in members where each is.
func newTiers(backends []*backend.Backend, at []member, unit uint32, build func(*members) chooser) []*tier {
	var tiers []*tier
	order := slices.Clone(backends)
	slices.SortStableFunc(order, func(a, b *backend.Backend) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), change(b.Far, a.Far))
	})
	for i, b := range order {
		if i == 0 || b.Priority != order[i-1].Priority || b.Far != order[i-1].Far {
			tiers = append(tiers, &tier{priority: b.Priority})
		}
		n := len(tiers) - 1
		m := &tiers[n].members
		at[b.Index] = member{tier: n, place: len(m.backends)}
		m.backends = append(m.backends, b)
		m.full = append(m.full, uint32(b.Weight)*unit)
	}
	for _, t := range tiers {
		n := len(t.members.backends)
		t.members.weights = slices.Clone(t.members.full)
		t.available, t.isFull = make([]bool, n), make([]bool, n)
		t.due, t.waiting = iheap.New(n), iheap.New(n)
		t.chooser = build(&t.members)
		t.releaser, _ = t.chooser.(releaser)
	}
	return tiers
}

// setAvailable puts i among those that the policy chooses from, or takes it
// out.
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

// setDue says whether i, which is left aside, may be probed in its time.
func (t *tier) setDue(i int, may bool) {
	switch {
	case may == t.due.Has(i):
	case may:
		t.due.Set(i, uint64(t.members.backends[i].BackoffUntil()), t.nextTurn())
	default:
		t.due.Remove(i)
	}
}

// setWaiting says whether i may be tried when nobody else is left.
func (t *tier) setWaiting(i int, may bool) {
	switch {
	case may == t.waiting.Has(i):
	case may:
		t.waiting.Set(i, t.nextTurn(), 0)
	default:
		t.waiting.Remove(i)
	}
}

func (t *tier) nextTurn() uint64 {
	t.turn++
	return t.turn
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

// probe returns the place of a backend whose time aside is over, for one
// connection to try; -1 if there is none.
func (t *tier) probe(now int64) int {
	i := t.due.Min()
	if i < 0 || !t.members.backends[i].Probe(now) {
		return -1
	}
	t.reschedule(i)
	return i
}

// lastResort returns the place of the backend that has gone longest without
// being tried, whether its time is over or not: when no other is left, a
// refusal costs the client nothing. Taking turns finds the first one that is
// back, also when there are more of them than a client has attempts.
func (t *tier) lastResort(now int64, tried []int) int {
	i := t.waiting.MinExcept(tried)
	if i < 0 {
		return -1
	}
	t.members.backends[i].Probe(now) // its dial is the probe if one is due
	t.reschedule(i)
	return i
}

// probeEnded ends the probe of i if its connection is known to have ended. A
// connection that ends beside others may be any of them; then the verdict or
// the end of the lease is waited for.
func (t *tier) probeEnded(i int, left int64) {
	b := t.members.backends[i]
	if left == 0 && b.EndProbe() && t.due.Has(i) {
		t.due.Set(i, uint64(b.BackoffUntil()), t.due.Tie(i))
	}
}

// reschedule puts i in its place by the time of its next probe, and last among
// those waiting.
func (t *tier) reschedule(i int) {
	turn := t.nextTurn()
	if t.due.Has(i) {
		t.due.Set(i, uint64(t.members.backends[i].BackoffUntil()), turn)
	}
	if t.waiting.Has(i) {
		t.waiting.Set(i, turn, 0)
	}
}
