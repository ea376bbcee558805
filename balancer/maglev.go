package balancer

import (
	"math"
	"math/bits"
)

// maglev is the consistent hashing of Maglev (Eisenbud et al., "Maglev: a fast and reliable
// software network load balancer", NSDI 2016, section 3.4). A table holds each member as often as
// its weight says, within one percent. Most entries are the same in the table of a new
// configuration.
//
// The table holds all configured members. If the member of a key is not available, the search
// continues with other entries of the table: the keys of a member that fails move to the others by
// their weights, and no other keys move.
type maglev[T uint16 | uint32] struct {
	hashed
	table []T // ranks
}

// tableSizes are primes, as the permutations need them, just above powers of two: while a pool
// grows, the size changes rarely, since then most keys move. The smallest is the smaller one of the
// paper. The table of the largest has 32 MiB.
var tableSizes = [...]int{65537, 131101, 262147, 524309, 1048583, 2097169, 4194319, 8388617}

// entriesEach is the least number of table entries per member. With a hundred, the shares of the
// members differ by at most one percent (section 3.4).
const entriesEach = 100

// maxProbes is how many entries of the table a search looks at. If every tenth member of a pool is
// available, one key in a thousand finds none.
const maxProbes = 64

func newMaglev(m *members, o chooserOptions) chooser {
	h, configured := newHashed(m, o)
	n := len(configured)
	switch {
	case n == 0:
		return &maglev[uint16]{hashed: h}
	case fitsUint16(n): // half the size: more of it stays in the processor's cache
		return &maglev[uint16]{h, fill[uint16](configured, tableSize(n))}
	}
	return &maglev[uint32]{h, fill[uint32](configured, tableSize(n))}
}

func fitsUint16(members int) bool { return members-1 <= math.MaxUint16 }

func tableSize(members int) int {
	for _, size := range tableSizes {
		if size >= members*entriesEach {
			return size
		}
	}
	return tableSizes[len(tableSizes)-1]
}

// fill lets the members take entries in turns, each the next free one of its own permutation of the
// table.
func fill[T uint16 | uint32](configured []named, size int) []T {
	var (
		table = make([]T, size)
		taken = make([]uint64, size/64+1) // one bit per entry: it stays in the cache
		next  = make([]int, len(configured))
		skip  = make([]int, len(configured))
	)
	for rank, m := range configured {
		offset, _ := bits.Mul64(m.hash[0], uint64(size))
		step, _ := bits.Mul64(m.hash[1], uint64(size-1))
		next[rank], skip[rank] = int(offset), int(step)+1
	}
	for _, rank := range turns(configured, size) {
		at := next[rank]
		for taken[at/64]>>(at%64)&1 != 0 {
			if at += skip[rank]; at >= size {
				at -= size
			}
		}
		taken[at/64] |= 1 << (at % 64)
		table[at] = T(rank)
		next[rank] = at
	}
	return table
}

// turns returns the ranks of the members in the order of their turns, size of them. In the first
// round, each member has a turn. After that, a member of the largest weight has one in each round,
// a member of half that weight one in every second round. Within a round, they go by rank.
func turns(configured []named, size int) []uint32 {
	largest, sum := uint64(0), uint64(0)
	for _, m := range configured {
		largest = max(largest, uint64(m.full))
		sum += uint64(m.full)
	}
	// In this number of rounds, each has at least its share of size.
	rounds := uint64(size)*largest/sum + 2
	starts := make([]uint32, rounds+1)
	each := func(f func(round uint64, rank int)) {
		for rank, m := range configured {
			weight := uint64(m.full)
			for k := uint64(0); ; k++ {
				round := (k*largest + weight - 1) / weight
				if round >= rounds {
					break
				}
				f(round, rank)
			}
		}
	}
	each(func(round uint64, _ int) { starts[round+1]++ })
	for round := range rounds {
		starts[round+1] += starts[round]
	}
	order := make([]uint32, starts[rounds])
	each(func(round uint64, rank int) {
		order[starts[round]] = uint32(rank)
		starts[round]++
	})
	return order[:size]
}

func (c *maglev[T]) next(r request) int {
	if len(r.tried) == 0 {
		return c.probe(r.key)
	}
	c.hold(r.tried)
	i := c.probe(r.key)
	c.putBack()
	return i
}

// probe looks at one entry of the table after another, which the key decides.
func (c *maglev[T]) probe(key uint64) int {
	if len(c.table) == 0 {
		return -1
	}
	s := search{key: key}
	for range maxProbes {
		at, _ := bits.Mul64(key, uint64(len(c.table)))
		if rank := int(c.table[at]); c.takes(&s, rank) {
			return int(c.ranked[rank].index)
		}
		key = mix(key + golden)
	}
	return c.otherwise(&s)
}

func (c *maglev[T]) clone(m *members) chooser { return &maglev[T]{c.hashed.clone(m), c.table} }
