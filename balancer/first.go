package balancer

import "l4proxy/internal/iheap"

// first chooses the first available backend in the order of the configuration. A backend gets
// connections only when those before it are full or cannot serve. Weights do not matter.
type first struct {
	heap *iheap.Heap // by index
}

func newFirst(m *members, _ chooserOptions) chooser {
	return &first{heap: iheap.New(len(m.backends))}
}

func (c *first) next(r request) int { return c.heap.MinExcept(r.tried) }

func (c *first) picked(int) {}

func (c *first) add(i int) { c.heap.Set(i, uint64(i), 0) }

func (c *first) remove(i int) { c.heap.Remove(i) }

func (c *first) clone(*members) chooser { return &first{heap: c.heap.Clone()} }
