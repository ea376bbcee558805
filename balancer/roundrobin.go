package balancer

import (
	"slices"

	"l4proxy/internal/iheap"
)

// roundRobin is smooth weighted round robin. A backend of weight w has one turn in each of w equal
// parts of a cycle of virtual time. Going through all turns in the order of time gives each backend
// exactly its weight in a cycle, in O(log n) a pick and without a table as long as the sum of the
// weights.
//
// The turns of the backends of one weight are at different points of their parts. If all were in
// the middle, a hundred backends of weight 1 would come in a row.
type roundRobin struct {
	members *members
	heap    *iheap.Heap // by the time of the next turn, then by the last pick
	turn    []uint32    // the part of the cycle in which the next turn of each is
	phase   []uint32    // where in their parts its turns are, of 2^32
	now     uint64      // the virtual time: that of the latest turn
	picks   uint64
}

// Virtual time counts 2^32 a cycle, and wraps around.
const cycle = 1 << 32

func newRoundRobin(m *members, _ chooserOptions) chooser {
	return &roundRobin{
		members: m,
		heap:    iheap.New(len(m.backends)),
		turn:    make([]uint32, len(m.backends)),
		phase:   phases(m.full),
	}
}

// phases spreads the backends of each weight over a part, in their order.
func phases(weights []uint32) []uint32 {
	count := make(map[uint32]uint64)
	for _, w := range weights {
		count[w]++
	}
	rank := make(map[uint32]uint64)
	phases := make([]uint32, len(weights))
	for i, w := range weights {
		phases[i] = uint32((2*rank[w] + 1) * (cycle / 2) / count[w])
		rank[w]++
	}
	return phases
}

func (c *roundRobin) next(r request) int {
	return c.heap.MinExcept(r.tried)
}

// picked gives i the turn after this one. Time may be ahead of i, because clients that had tried it
// passed it. Then i does not make up for the turns that it missed: see add.
func (c *roundRobin) picked(i int) {
	key := c.heap.Key(i)
	if before(key, c.now) {
		c.add(i)
		return
	}
	c.now = key
	c.schedule(i, key-key%cycle, uint64(c.turn[i])+1)
}

// before compares times that wrap around.
func before(a, b uint64) bool { return int64(a-b) < 0 }

// add gives i its first turn that is not over yet. It does not catch up on those that it missed, or
// it would get all new connections until it had.
func (c *roundRobin) add(i int) {
	into := c.now % cycle
	weight := uint64(c.members.weights[i])
	turn := (into*weight + cycle - 1 - uint64(c.phase[i])) / cycle // rounded up
	c.schedule(i, c.now-into, turn)
}

// succeed continues the cycle of old: those that were in it, with the same weight, have the turns
// that they have not had yet. The others join as in add.
func (c *roundRobin) succeed(old chooser, was []int) {
	o, ok := old.(*roundRobin)
	if !ok {
		return
	}
	c.now, c.picks = o.now, o.picks
	for i, k := range was {
		switch {
		case !c.heap.Has(i):
		case k >= 0 && o.heap.Has(k) && !before(o.heap.Key(k), o.now) &&
			o.members.weights[k] == c.members.weights[i]:
			c.turn[i] = o.turn[k]
			start := o.heap.Key(k) - o.heap.Key(k)%cycle
			key := start + c.offset(i, uint64(c.turn[i]))
			if before(key, c.now) {
				key = c.now // with more members, its turns are a little earlier
			}
			c.heap.Set(i, key, o.heap.Tie(k))
		default:
			c.add(i)
		}
	}
}

// offset is when a turn of i is, in its cycle.
func (c *roundRobin) offset(i int, turn uint64) uint64 {
	return (turn*cycle + uint64(c.phase[i])) / uint64(c.members.weights[i])
}

func (c *roundRobin) remove(i int) { c.heap.Remove(i) }

// schedule puts i at a turn of the cycle that begins at start; the turn after the last one is the
// first of the next cycle.
func (c *roundRobin) schedule(i int, start, turn uint64) {
	weight := uint64(c.members.weights[i])
	if turn == weight {
		turn = 0
		start += cycle
	}
	c.turn[i] = uint32(turn)
	c.picks++
	c.heap.Set(i, start+c.offset(i, turn), c.picks)
}

func (c *roundRobin) clone(m *members) chooser {
	twin := *c
	twin.members, twin.heap, twin.turn = m, c.heap.Clone(), slices.Clone(c.turn)
	return &twin
}

// score implements scorer: the time until the next turn, in cycles.
func (c *roundRobin) score(i int, _ uint32) float64 {
	if !c.heap.Has(i) || before(c.heap.Key(i), c.now) {
		return 0
	}
	return float64(c.heap.Key(i)-c.now) / cycle
}
