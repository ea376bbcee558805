package balancer

import "l4proxy/internal/iheap"

// leastConn chooses the backend with the smallest (connections+1)/weight, its load with the new
// connection. Ties rotate: the least recently picked is first. Pick and Done take O(log n).
type leastConn struct {
	members *members
	heap    *iheap.Heap // by load, then by turn
	turn    uint64
}

func newLeastConn(m *members, _ chooserOptions) chooser {
	return &leastConn{members: m, heap: iheap.New(len(m.backends))}
}

// load returns (connections+1)/weight with 32 fractional bits. Two different such fractions are
// further apart than 2^-32 with weights up to MaxWeight, so that the order of the results is exact,
// below 2^31 connections.
func load(connections int64, weight uint32) uint64 {
	return uint64(connections+1) << 32 / uint64(weight)
}

func (c *leastConn) next(r request) int {
	return c.heap.MinExcept(r.tried)
}

func (c *leastConn) picked(i int) { c.add(i) }

// recount keeps the turn: only a pick changes it.
func (c *leastConn) recount(i int) {
	c.set(i, c.heap.Tie(i))
}

func (c *leastConn) add(i int) {
	c.turn++
	c.set(i, c.turn)
}

func (c *leastConn) set(i int, turn uint64) {
	c.heap.Set(i, load(c.members.backends[i].Active(), c.members.weights[i]), turn)
}

// succeed keeps the turns of those that were in old, and gives the others the last ones.
func (c *leastConn) succeed(old chooser, was []int) {
	o, ok := old.(*leastConn)
	if !ok {
		return
	}
	c.turn = o.turn
	for i, k := range was {
		switch {
		case !c.heap.Has(i):
		case k >= 0 && o.heap.Has(k):
			c.set(i, o.heap.Tie(k))
		default:
			c.add(i)
		}
	}
}

func (c *leastConn) remove(i int) { c.heap.Remove(i) }

func (c *leastConn) clone(m *members) chooser {
	return &leastConn{members: m, heap: c.heap.Clone(), turn: c.turn}
}

// score implements scorer.
func (c *leastConn) score(i int, unit uint32) float64 { return fraction(c.members, i, unit) }
