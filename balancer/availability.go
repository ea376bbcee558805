package balancer

import "l4proxy/backend"

// availability holds the backends of a pool that are left aside, and says which
// of them may be tried. It is used under the pool's lock.
type availability struct {
	backends []*backend.Backend
	due      *indexHeap // by the time of the next probe
	waiting  *indexHeap // by the last time it was left aside or tried
	turn     uint64
}

func newAvailability(backends []*backend.Backend) *availability {
	return &availability{
		backends: backends,
		due:      newIndexHeap(backends),
		waiting:  newIndexHeap(backends),
	}
}

// fail leaves b aside, or longer aside.
func (a *availability) fail(b *backend.Backend, now int64) {
	if b.Fail(now) {
		a.reschedule(b)
	}
}

// recover takes b out and reports whether it was left aside.
func (a *availability) recover(b *backend.Backend) bool {
	if !b.Recover() {
		return false
	}
	a.due.remove(b.Index)
	a.waiting.remove(b.Index)
	return true
}

// probe returns a backend whose time is over, for one connection to try; nil
// if there is none.
func (a *availability) probe(now int64) *backend.Backend {
	i := a.due.min()
	if i < 0 {
		return nil
	}
	b := a.backends[i]
	if !b.Probe(now) {
		return nil
	}
	a.reschedule(b)
	return b
}

// lastResort returns the backend that has gone longest without being tried,
// whether its time is over or not: when no other is left, a refusal costs the
// client nothing. Taking turns finds the first one that is back, also when
// there are more of them than a client has attempts.
func (a *availability) lastResort(now int64, tried []*backend.Backend) *backend.Backend {
	i := a.waiting.minExcept(tried)
	if i < 0 {
		return nil
	}
	b := a.backends[i]
	b.Probe(now) // its dial is the probe if one is due
	a.reschedule(b)
	return b
}

// released ends the probe of b if its connection is known to have ended. A
// connection that ends beside others may be any of them; then the verdict or
// the end of the lease is waited for.
func (a *availability) released(b *backend.Backend, left int64) {
	if left == 0 && b.EndProbe() {
		a.due.set(b.Index, uint64(b.AsideUntil()), a.due.tie(b.Index))
	}
}

// reschedule puts b in its place by the time of its next probe, and last among
// those waiting.
func (a *availability) reschedule(b *backend.Backend) {
	a.turn++
	a.due.set(b.Index, uint64(b.AsideUntil()), a.turn)
	a.waiting.set(b.Index, a.turn, 0)
}
