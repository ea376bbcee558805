package balancer

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowFill is the slow and obvious twin of fill: the pseudocode of section 3.4 of the paper, with
// whole permutations, and turns by weight.
func slowFill(configured []named, size int) []uint16 {
	permutation := make([][]int, len(configured))
	largest := 0
	for i, m := range configured {
		largest = max(largest, int(m.full))
		mod := func(hash uint64, n int) int { // the first bits, rather than a remainder
			x := new(big.Int).SetUint64(hash)
			return int(x.Rsh(x.Mul(x, big.NewInt(int64(n))), 64).Int64())
		}
		offset, skip := mod(m.hash[0], size), mod(m.hash[1], size-1)+1
		for j := range size {
			permutation[i] = append(permutation[i], (offset+j*skip)%size)
		}
	}
	next := make([]int, len(configured))
	entry := slices.Repeat([]int{-1}, size)
	filled := 0
	for round := 0; ; round++ {
		for i, m := range configured {
			w := int(m.full)
			if round > 0 && round*w/largest == (round-1)*w/largest {
				continue // not its turn
			}
			c := permutation[i][next[i]]
			for entry[c] >= 0 {
				next[i]++
				c = permutation[i][next[i]]
			}
			entry[c] = i
			next[i]++
			if filled++; filled == size {
				table := make([]uint16, size)
				for k, i := range entry {
					table[k] = uint16(i)
				}
				return table
			}
		}
	}
}

func TestFillAgreesWithThePaper(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 60), 1, 12).Draw(rt, "weights")
		size := rapid.SampledFrom([]int{13, 101, 251}).Draw(rt, "size")
		configured := make([]named, len(weights))
		for i, w := range weights {
			configured[i].full = w
			for k := range configured[i].hash {
				configured[i].hash[k] = rapid.Uint64().Draw(rt, "hash")
			}
		}
		if got, want := fill[uint16](configured, size), slowFill(configured, size); !slices.Equal(got, want) {
			rt.Fatalf("the table is %v, want %v", got, want)
		} else if wide := fill[uint32](configured, size); !slices.EqualFunc(wide, want, func(a uint32, b uint16) bool { return a == uint32(b) }) {
			rt.Fatalf("with entries of 32 bits the table is %v, want %v", wide, want)
		}
	})
}

func TestTableSizes(t *testing.T) {
	for i, size := range tableSizes {
		if !big.NewInt(int64(size)).ProbablyPrime(0) {
			t.Errorf("%d is no prime", size)
		}
		if i > 0 && size < 2*tableSizes[i-1]-100 {
			t.Errorf("%d is less than twice %d", size, tableSizes[i-1])
		}
	}
	for members, want := range map[int]int{
		1: 65537, 655: 65537, 656: 131101, 10_000: 1048583, 83_886: 8388617, 1_000_000: 8388617,
	} {
		if got := tableSize(members); got != want {
			t.Errorf("the table for %d members has %d entries, want %d", members, got, want)
		}
	}
}

// TestTableShares counts the entries of each member: within one percent, and each has at least one.
func TestTableShares(t *testing.T) {
	for _, weights := range [][]int{
		{1, 1, 1}, {1, 2, 3, 10, 34, 50, 1}, {MaxWeight, 1, 1}, {65521, MaxWeight}, equal(655), append(equal(100), 50),
	} {
		c := newTable("maglev", chooserOptions{}, newMembers(weights...)).chooser.(*maglev[uint16])
		sum := 0
		for _, w := range weights {
			sum += w
		}
		counts := make([]int, len(weights))
		for _, rank := range c.table {
			counts[c.ranked[rank].index]++
		}
		for i, w := range weights {
			want := float64(len(c.table)) * float64(w) / float64(sum)
			if d := math.Abs(float64(counts[i]) - want); d > max(1, want/100) {
				t.Errorf("weight %d of %d has %d entries, want %.1f", w, sum, counts[i], want)
			}
			if counts[i] == 0 {
				t.Errorf("weight %d of %d has no entry", w, sum)
			}
		}
	}
}

// TestEntries holds that ranks are never cut off.
func TestEntries(t *testing.T) {
	if n := math.MaxUint16 + 1; !fitsUint16(n) || fitsUint16(n+1) {
		t.Errorf("the ranks of %d members fit 16 bits: %t, of one more: %t", n, fitsUint16(n), fitsUint16(n+1))
	}
}

// TestTableOfANewConfiguration adds a member, or takes it away, which is the same seen from the
// other side. Some keys move among the others, because the turns that the one does not take shift
// the entries of those after it. The paper gives no bound; from 2 to 3,000 members of one weight it
// was under 1 %, except where the table gets its next size.
func TestTableOfANewConfiguration(t *testing.T) {
	keys := keys(50_000)
	for _, n := range []int{2, 10, 100, 500, 1000} {
		before := newTable("maglev", chooserOptions{}, renamed(0, equal(n)...))
		after := newTable("maglev", chooserOptions{}, renamed(0, equal(n+1)...))
		own, others := moved(before, after, after.backends[n].Address, keys)
		share := 1 / float64(n+1)
		if d := math.Abs(own - share); d > 5*math.Sqrt(share/float64(len(keys)))+share/entriesEach {
			t.Errorf("%.2f %% of the keys went to one of %d, want about %.2f", 100*own, n+1, 100*share)
		}
		if others > 0.015 {
			t.Errorf("%.2f %% of the keys moved among %d others, want at most 1.5", 100*others, n)
		}
	}
}
