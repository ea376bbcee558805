package balancer

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// eachHashPolicy runs f with those that go by the client's hash.
func eachHashPolicy(t *testing.T, f func(t *testing.T, name string)) {
	for _, name := range Names() {
		if policies[name].hashes {
			t.Run(name, func(t *testing.T) { f(t, name) })
		}
	}
}

// keys returns n keys.
func keys(n int) []uint64 {
	r := rand.New(rand.NewPCG(1, 2))
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = r.Uint64()
	}
	return keys
}

// choices returns where each key goes.
func choices(c *table, keys []uint64) []int {
	got := make([]int, len(keys))
	for i, key := range keys {
		got[i] = c.next(request{key: key})
	}
	return got
}

// TestOnlyItsOwnKeysMove takes half of the members out one after another and brings them back: only
// the keys of the one that comes or goes move.
func TestOnlyItsOwnKeysMove(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const n = 20
		keys := keys(10_000)
		c := newTable(name, chooserOptions{}, newMembers(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
		history := [][]int{choices(c, keys)}
		for i := range n / 2 {
			c.setAvailable(2*i, false)
			before, after := history[i], choices(c, keys)
			others := make(map[int]bool)
			for k := range keys {
				if before[k] != 2*i && after[k] != before[k] {
					t.Fatalf("without %d a key of %d moved to %d", 2*i, before[k], after[k])
				}
				if before[k] == 2*i {
					others[after[k]] = true
				}
			}
			if len(others) < (n-1-i)/2 {
				t.Errorf("the keys of %d went to %d of the %d others", 2*i, len(others), n-1-i)
			}
			history = append(history, after)
		}
		for i := n/2 - 1; i >= 0; i-- {
			c.setAvailable(2*i, true)
			if !slices.Equal(choices(c, keys), history[i]) {
				t.Fatalf("not all keys went back to %d", 2*i)
			}
		}
	})
}

// TestTriedIsNotAvailable holds that a client continues to where it would go if those that it has
// tried were not there.
func TestTriedIsNotAvailable(t *testing.T) {
	for _, o := range []chooserOptions{{}, {MaxLoad: 110}} {
		eachHashPolicy(t, func(t *testing.T, name string) {
			c := newTable(name, o, newMembers(1, 2, 3, 4, 5, 6))
			for _, key := range keys(1000) {
				c.open(request{key: key})
				tried := []int{c.next(request{key: key})}
				tried = append(tried, c.next(request{key: key, tried: tried}))
				got := c.next(request{key: key, tried: tried})
				for _, i := range tried {
					c.setAvailable(i, false)
				}
				if want := c.next(request{key: key}); got != want {
					t.Fatalf("after %v comes %d, want %d", tried, got, want)
				}
				for _, i := range tried {
					c.setAvailable(i, true)
				}
			}
		})
	}
}

// TestOrderInTheFileMakesNoDifference gives two proxies the same backends in other orders.
func TestOrderInTheFileMakesNoDifference(t *testing.T) {
	for _, maxLoad := range []int{0, 105} {
		eachHashPolicy(t, func(t *testing.T, name string) {
			weights := make([]int, 300)
			for i := range weights {
				weights[i] = 1 + i%7
			}
			one := newTable(name, chooserOptions{MaxLoad: maxLoad}, newMembers(weights...))
			shuffled := newMembers(weights...)
			rand.New(rand.NewPCG(1, 0)).Shuffle(len(shuffled), func(i, k int) {
				shuffled[i], shuffled[k] = shuffled[k], shuffled[i]
			})
			other := newTable(name, chooserOptions{MaxLoad: maxLoad}, shuffled)
			for i, weight := range other.full { // few are left: some keys go down the tree
				other.setAvailable(i, weight == 7)
			}
			for i, weight := range one.full {
				one.setAvailable(i, weight == 7)
			}
			for _, key := range keys(20_000) {
				a := one.backends[one.open(request{key: key})].Address
				b := other.backends[other.open(request{key: key})].Address
				if a != b {
					t.Fatalf("a client goes to %s here and to %s there", a, b)
				}
			}
		})
	}
}

// TestSlowStartOnlyGrows raises the weight of one member: keys go to it, and none goes away again,
// nor from one of the others to another. Its share is the part of its whole one.
func TestSlowStartOnlyGrows(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const full, starting = 64, 2
		keys := keys(20_000)
		c := newTable(name, chooserOptions{}, newMembers(full, full, 2*full, full))
		whole := choices(c, keys)
		c.setAvailable(starting, false)
		before := choices(c, keys)
		c.setAvailable(starting, true)
		for weight := uint32(2); weight <= 2*full; weight += 2 {
			c.setWeight(starting, weight)
			after, got, all := choices(c, keys), 0.0, 0.0
			for k := range keys {
				if after[k] != before[k] && after[k] != starting {
					t.Fatalf("at weight %d a key moved from %d to %d", weight, before[k], after[k])
				}
				if whole[k] == starting {
					all++
				}
				if after[k] == starting {
					got++
				}
			}
			share := float64(weight) / (2 * full)
			if d := math.Abs(got - all*share); d > 5*math.Sqrt(all*share*(1-share)) {
				t.Errorf("at weight %d of %d it has %.0f of %.0f keys", weight, 2*full, got, all)
			}
			before = after
		}
		if !slices.Equal(before, whole) {
			t.Error("with its whole weight it has not the keys that it had")
		}
	})
}

// TestAllStartSlowly holds that no client that has come to where it belongs is sent away again
// while all grow together.
func TestAllStartSlowly(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const full = 64
		keys := keys(2_000)
		c := newTable(name, chooserOptions{}, newMembers(full, full, full, full))
		home := choices(c, keys)
		arrived := make([]bool, len(keys))
		moves := make([]int, len(keys))
		before := []int(nil)
		for weight := uint32(1); weight <= full; weight++ {
			for i := range c.backends {
				c.setWeight(i, weight)
			}
			after := choices(c, keys)
			for k := range keys {
				if before != nil && after[k] != before[k] {
					moves[k]++
				}
				if arrived[k] && after[k] != home[k] {
					t.Fatalf("at weight %d a key was sent from its own member %d to %d", weight, home[k], after[k])
				}
				arrived[k] = after[k] == home[k]
			}
			before = after
		}
		if !slices.Equal(before, home) {
			t.Error("with whole weights not all keys are where they belong")
		}
		if most := slices.Max(moves); most > 3 {
			t.Errorf("a key moved %d times among 4 members", most)
		}
	})
}

// TestSlowStartsAreIndependent has two of three members admit half of the keys: those of the one
// that the other does not admit either go to the third.
func TestSlowStartsAreIndependent(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const full = 64
		keys := keys(20_000)
		c := newTable(name, chooserOptions{}, newMembers(full, full, full))
		c.setWeight(0, full/2)
		c.setWeight(1, full/2)
		third := 0.0
		for _, i := range choices(c, keys) {
			if i == 2 {
				third++
			}
		}
		// A third of the keys are its own; of the others half are not admitted where they belong,
		// and of those it gets half first, and half of the other half second.
		want := float64(len(keys)) * (1.0/3 + 2.0/3*1/2*(1.0/2+1.0/2*1/2))
		if math.Abs(third-want) > 0.05*want {
			t.Errorf("the third got %.0f keys, want about %.0f", third, want)
		}
	})
}

// TestDescend holds that the way down the tree divides the keys by weight, and that one that leaves
// moves few keys of the others.
func TestDescend(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 300} {
		testDescend(t, n)
	}
}

func testDescend(t *testing.T, n int) {
	keys := keys(30_000)
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1 + i%4
	}
	h := &newTable("source_hash", chooserOptions{}, newMembers(weights...)).chooser.(*sourceHash).hashed
	before := make([]int, len(keys))
	counts := make([]uint64, n)
	for k, key := range keys {
		before[k] = int(h.ranked[h.descend(key)].index)
		counts[before[k]]++
	}
	checkShares(t, counts, weights)
	if n == 1 {
		return
	}
	gone := n / 3
	h.remove(gone)
	own, others := 0, 0
	for k, key := range keys {
		switch after := int(h.ranked[h.descend(key)].index); {
		case after == gone:
			t.Fatal("a key went to one that is not available")
		case before[k] == gone:
			own++
		case after != before[k]:
			others++
		}
	}
	if most := own * bits.Len(uint(n)); others > most {
		t.Errorf("%d keys of others moved with the %d of the one that left, want at most %d", others, own, most)
	}
}

// TestFewAreLeft has so few members available that many searches meet none. They share the keys by
// weight all the same.
func TestFewAreLeft(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const n, left = 2000, 5
		weights := equal(n)
		for k := range left {
			weights[k*n/left] = k + 1
		}
		c := newTable(name, chooserOptions{}, newMembers(weights...))
		for i := range n {
			c.setAvailable(i, i%(n/left) == 0)
		}
		keys := keys(20_000)
		counts := make(map[int]float64)
		for _, i := range choices(c, keys) {
			counts[i]++
		}
		for k := range left {
			share := float64(k+1) / (1 + 2 + 3 + 4 + 5)
			want := float64(len(keys)) * share
			if d := math.Abs(counts[k*n/left] - want); d > 5*math.Sqrt(want*(1-share))+0.05*want {
				t.Errorf("weight %d has %.0f keys, want about %.0f", k+1, counts[k*n/left], want)
			}
		}
	})
}
