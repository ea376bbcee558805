package balancer

import "l4proxy/backend"

// leastConn chooses the backend with the smallest (connections+1)/weight, its
// load with the new connection. Ties rotate: the least recently picked is
// first. Pick and Done take O(log n).
type leastConn struct {
	heap *indexHeap // by load, then by turn
	turn uint64
}

func newLeastConn(backends []*backend.Backend, _ uint64) chooser {
	c := &leastConn{heap: newIndexHeap(backends)}
	for i := range backends {
		c.add(i)
	}
	return c
}

// load returns (connections+1)/weight with 32 binary places. Two different
// such fractions are further apart than 2^-32 with weights up to MaxWeight, so
// that the order of the results is exact, below 2^31 connections.
func load(connections int64, weight int) uint64 {
	return uint64(connections+1) << 32 / uint64(weight)
}

func (c *leastConn) next(tried []*backend.Backend) int {
	return c.heap.minExcept(tried)
}

func (c *leastConn) picked(i int) { c.add(i) }

// released keeps the turn: a connection's end is no pick.
func (c *leastConn) released(i int) {
	c.set(i, c.heap.tie(i))
}

func (c *leastConn) add(i int) {
	c.turn++
	c.set(i, c.turn)
}

func (c *leastConn) set(i int, turn uint64) {
	b := c.heap.backends[i]
	c.heap.set(i, load(b.Active(), b.Weight), turn)
}

func (c *leastConn) remove(i int) { c.heap.remove(i) }
