package balancer

import (
	"math/bits"
	"math/rand/v2"

	"l4proxy/backend"
)

// random chooses by chance, each backend as often as its weight says. The
// weights of the available ones stand in a Fenwick tree, which draws, adds and
// removes in O(log n); an alias table would draw in constant time, but be built
// anew whenever a backend is left aside.
type random struct {
	backends []*backend.Backend
	rand     *rand.Rand
	tree     []uint64 // [k] is the sum of the weights of indexes k-lowbit(k) to k-1
	present  []bool
	total    uint64
	held     []int // scratch of next
}

func newRandom(backends []*backend.Backend, seed uint64) chooser {
	c := &random{
		backends: backends,
		rand:     rand.New(rand.NewPCG(seed, 0)),
		tree:     make([]uint64, len(backends)+1),
		present:  make([]bool, len(backends)),
	}
	for i := range backends {
		c.add(i)
	}
	return c
}

func (c *random) next(tried []*backend.Backend) int {
	if len(tried) == 0 {
		return c.draw()
	}
	c.held = c.held[:0]
	for _, b := range tried {
		if i := b.Index; i < len(c.backends) && c.backends[i] == b && c.present[i] {
			c.held = append(c.held, i)
			c.remove(i)
		}
	}
	drawn := c.draw()
	for _, i := range c.held {
		c.add(i)
	}
	return drawn
}

// draw returns one of those present, or -1 if there is none.
func (c *random) draw() int {
	if c.total == 0 {
		return -1
	}
	// Go down to the last index whose weights before it sum up to no more
	// than the number drawn.
	rest := c.rand.Uint64N(c.total)
	k := 0
	for step := 1 << (bits.Len(uint(len(c.backends))) - 1); step > 0; step >>= 1 {
		if n := k + step; n < len(c.tree) && c.tree[n] <= rest {
			k = n
			rest -= c.tree[n]
		}
	}
	return k
}

func (c *random) picked(int) {}

func (c *random) add(i int) {
	c.present[i] = true
	c.change(i, uint64(c.backends[i].Weight))
}

func (c *random) remove(i int) {
	c.present[i] = false
	c.change(i, -uint64(c.backends[i].Weight))
}

// change adds delta, modulo 2^64, to the weight of i.
func (c *random) change(i int, delta uint64) {
	c.total += delta
	for k := i + 1; k < len(c.tree); k += k & -k {
		c.tree[k] += delta
	}
}
