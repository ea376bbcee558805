package balancer

import (
	"math/bits"
	"slices"
)

// sourceHash is a consistent hash ring (Karger et al., 1997): each member has points on it, which
// depend on its name alone, and a key belongs to the member of the next point. In a new
// configuration, only the keys of members that came or went move, while maglev moves some others
// too. The price is that shares differ by chance.
//
// The ring is an array in which each point has the slot that is proportional to its position on the
// ring, or the next free one, and the free slots before it too. The search for the point after a
// key begins at the key's own slot and ends a few slots later: one access to memory, where a binary
// search makes twenty.
type sourceHash struct {
	hashed
	ring  []uint64 // points: the position on the ring, and in the last rankBits the rank
	slots uint64   // over which the positions are spread; the last points may be past them
}

const (
	// pointsEach is how many points a member of average weight has. The part of the ring that they
	// get varies with its square root: shares are within 3 % (one standard deviation) of the
	// weights.
	pointsEach = 1024
	// maxPoints bounds the memory at 11 MiB. More than 1,024 members share it; with 10,000, the
	// shares are within 10 %.
	maxPoints = 1 << 20
	// rankBits leave 2^40 positions, so few points have the same one.
	rankBits = 24
	rankMask = 1<<rankBits - 1
	// maxWalk is how many slots a search looks at, which takes a fraction of a microsecond. If 5 %
	// of the members are available, one key in 10,000 finds none of them.
	maxWalk = 256
)

func newSourceHash(m *members, o chooserOptions) chooser {
	h, configured := newHashed(m, o)
	c := &sourceHash{hashed: h}
	c.addPoints(configured)
	if o.MaxLoad == 0 {
		return c
	}
	c.maxLoad = uint64(o.MaxLoad)
	c.active = newTally(len(configured))
	return &boundedSourceHash{c}
}

// addPoints puts the points of all members on the ring. The number for a member depends on its
// weight relative to the average: another unit of the weights, or one more member of about that
// weight, leaves the points of the others as they are.
func (c *sourceHash) addPoints(configured []named) {
	n := len(configured)
	if n == 0 {
		return
	}
	sum := uint64(0)
	for _, m := range configured {
		sum += uint64(m.full)
	}
	all := uint64(min(n*pointsEach, maxPoints))
	each := make([]int, n)
	total := 0
	for rank, m := range configured {
		each[rank] = int(max(1, (all*uint64(m.full)+sum/2)/sum))
		total += each[rank]
	}
	points := make([]uint64, 0, total)
	for rank, m := range configured {
		for k := range each[rank] {
			points = append(points, mix(m.hash[0]+uint64(k)*golden)&^rankMask|uint64(rank))
		}
	}
	slices.Sort(points)
	c.spread(points)
}

// spread builds the ring of sorted points, with four slots for every three.
func (c *sourceHash) spread(points []uint64) {
	c.slots = uint64(len(points)/3*4 + 1)
	c.ring = make([]uint64, 0, c.slots+64)
	for _, p := range points {
		c.ring = append(c.ring, p)
		for len(c.ring) <= c.slot(p) {
			c.ring = append(c.ring, p)
		}
	}
}

// slot is where the search for a position begins.
func (c *sourceHash) slot(position uint64) int {
	at, _ := bits.Mul64(position, c.slots)
	return int(at)
}

func (c *sourceHash) next(r request) int {
	if len(r.tried) == 0 {
		return c.walk(r.key)
	}
	c.hold(r.tried)
	i := c.walk(r.key)
	c.putBack()
	return i
}

// walk goes from point to point, from the key's position on.
func (c *sourceHash) walk(key uint64) int {
	s := search{key: key}
	position := key &^ rankMask
	at := 0
	if len(c.ring) > 0 {
		at = c.slot(position)
	}
	for at < len(c.ring) && c.ring[at] < position {
		at++
	}
	for range min(maxWalk, len(c.ring)) {
		if at >= len(c.ring) {
			at = 0
		}
		if rank := int(c.ring[at] & rankMask); c.takes(&s, rank) {
			return int(c.ranked[rank].index)
		}
		at++
	}
	return c.otherwise(&s)
}

// boundedSourceHash skips members that have more than their share.
type boundedSourceHash struct{ *sourceHash }

func (c *boundedSourceHash) picked(i int) { c.count(i) }

func (c *boundedSourceHash) recount(i int) { c.count(i) }

func (c *sourceHash) clone(m *members) chooser { return c.twin(m) }

func (c *sourceHash) twin(m *members) *sourceHash {
	return &sourceHash{hashed: c.hashed.clone(m), ring: c.ring, slots: c.slots}
}

func (c *boundedSourceHash) clone(m *members) chooser { return &boundedSourceHash{c.twin(m)} }
