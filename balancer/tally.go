package balancer

import (
	"math/bits"
	"slices"
)

// tally holds a number for each member in a Fenwick tree (Fenwick, "A new data structure for
// cumulative frequency tables", 1994): the weights of the available members, to draw from, or their
// connections. Changing a number takes O(log n), as does finding the member at a point of the sum.
// An alias table would draw in constant time, but would have to be rebuilt whenever a member comes
// or goes.
type tally struct {
	of    []uint32
	sums  []uint64 // [k] is the sum of the numbers of k-lowbit(k) to k-1
	total uint64
	held  []held // the numbers that hold has taken out
}

type held struct {
	i  int
	of uint32
}

func newTally(n int) tally {
	return tally{of: make([]uint32, n), sums: make([]uint64, n+1)}
}

// set changes the number of i.
func (t *tally) set(i int, of uint32) {
	delta := uint64(of) - uint64(t.of[i]) // modulo 2^64
	t.of[i] = of
	t.total += delta
	for k := i + 1; k < len(t.sums); k += k & -k {
		t.sums[k] += delta
	}
}

// root is the first step on the way down the tree. From k, at first 0, the element k+step is the
// sum of the left half of the numbers of k to k+2*step-1.
func (t *tally) root() int { return 1 << bits.Len(uint(len(t.of))) >> 1 }

// at returns the member whose number is at x, which is less than the total, when all numbers are
// put in a row, and the sum of the numbers before it.
func (t *tally) at(x uint64) (i int, before uint64) {
	rest := x
	for step := t.root(); step > 0; step >>= 1 {
		if k := i + step; k < len(t.sums) {
			// Random branches would be mispredicted at every second level, which costs more than
			// all the rest.
			sum := t.sums[k]
			right := ^(uint64(int64(rest-sum) >> 63)) // all ones if sum <= rest; both are below 2^63
			i += step & int(right)
			rest -= sum & right
		}
	}
	return i, x - rest
}

// hold makes the numbers of some members 0, until putBack.
func (t *tally) hold(members []int) {
	for _, i := range members {
		if t.of[i] > 0 {
			t.held = append(t.held, held{i, t.of[i]})
			t.set(i, 0)
		}
	}
}

func (t *tally) putBack() {
	for _, h := range t.held {
		t.set(h.i, h.of)
	}
	t.held = t.held[:0]
}

func (t *tally) clone() tally {
	return tally{of: slices.Clone(t.of), sums: slices.Clone(t.sums), total: t.total}
}
