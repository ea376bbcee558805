package balancer

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"l4proxy/backend"
)

func TestRoundRobinOrder(t *testing.T) {
	for _, c := range []struct {
		weights []int
		want    []int
	}{
		{[]int{1, 1, 1}, []int{0, 1, 2, 0, 1, 2, 0, 1, 2}},
		{[]int{5, 1, 1}, []int{0, 1, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0}},
		{[]int{2, 1}, []int{0, 1, 0, 0, 1, 0}},
		{[]int{3}, []int{0, 0, 0, 0}},
	} {
		p, _ := newPolicy(t, "round_robin", c.weights...)
		if got := order(p, 0, len(c.want)); !slices.Equal(got, c.want) {
			t.Errorf("weights %v: picked %v, want %v", c.weights, got, c.want)
		}
	}
}

func TestRoundRobinIsExactOverEachCycle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 50), 1, 20).Draw(rt, "weights")
		p, _ := newPolicy(t, "round_robin", weights...)
		sum := 0
		for _, w := range weights {
			sum += w
		}
		for c := range 3 {
			got := make([]int, len(weights))
			for _, i := range order(p, 0, sum) {
				got[i]++
			}
			if !slices.Equal(got, weights) {
				rt.Fatalf("cycle %d: picked %v, want %v", c, got, weights)
			}
		}
	})
}

// TestRoundRobinIsSmooth holds that between two picks of a backend come no more than its even
// distance, and one for each other weight.
func TestRoundRobinIsSmooth(t *testing.T) {
	for _, weights := range [][]int{
		{1, 2, 3, 10, 34},
		append([]int{100}, equal(100)...),
		append(equal(100), 100, 50, 50),
	} {
		sum := 0
		kinds := map[int]bool{}
		for _, w := range weights {
			sum += w
			kinds[w] = true
		}
		p, _ := newPolicy(t, "round_robin", weights...)
		last := make([]int, len(weights))
		for at, i := range order(p, 0, 5*sum) {
			even := (sum + weights[i] - 1) / weights[i]
			if wait := at - last[i]; wait > even+len(kinds)-1 {
				t.Errorf("weight %d of %d waited for %d picks, evenly it would be %d", weights[i], sum, wait, even)
			}
			last[i] = at
		}
	}
}

func TestRoundRobinOverHundredThousandPicks(t *testing.T) {
	weights := []int{1, 7, 17}
	p, backends := newPolicy(t, "round_robin", weights...)
	for range 100_000 {
		p.Done(p.Pick(0, nil))
	}
	for i, b := range backends {
		if got, want := b.Total(), uint64(4000*weights[i]); got != want {
			t.Errorf("weight %d was picked %d times, want %d", weights[i], got, want)
		}
	}
}

// TestRoundRobinDoesNotCatchUp holds that a recovered backend gets its share from now on, not what
// it missed.
func TestRoundRobinDoesNotCatchUp(t *testing.T) {
	p, backends := newPolicy(t, "round_robin", 10, 40, 40)
	failFirst(t, p, backends, 1, 0)
	order(p, 0, 20*50+45) // late in a cycle of 50 picks
	p.OK(backends[1])
	got := make([]int, 3)
	for _, i := range order(p, 0, 18) {
		got[i]++
	}
	for i, want := range []int{2, 8, 8} {
		if got[i] < want-2 || got[i] > want+2 {
			t.Errorf("picked %v of 18 after recovery, want about [2 8 8]", got)
		}
	}
}

// TestRoundRobinWrapsAround lets virtual time and the count of picks, which decides the tie in the
// middle of each cycle, pass the largest number.
func TestRoundRobinWrapsAround(t *testing.T) {
	p, backends := newPolicy(t, "round_robin", 3, 1)
	c := p.tiers[0].chooser.(*roundRobin)
	for i := range backends {
		c.remove(i)
	}
	c.now = math.MaxUint64 - (2*cycle - 1)
	c.picks = math.MaxUint64 - 2
	for i := range backends {
		c.add(i)
	}
	if got, want := order(p, 0, 16), slices.Repeat([]int{0, 1, 0, 0}, 4); !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
}

func TestRoundRobinSkipsTheTried(t *testing.T) {
	p, backends := newPolicy(t, "round_robin", 1, 1, 1)
	if b := p.Pick(0, []*backend.Backend{backends[0], backends[2]}); b != backends[1] {
		t.Errorf("picked %s, want the one not tried", b.Address)
	}
}

// TestRoundRobinRetries has many clients take one backend because they have tried the other:
// neither makes up for that, and a backend that comes meanwhile gets its turns at once.
func TestRoundRobinRetries(t *testing.T) {
	p, backends := newPolicy(t, "round_robin", 1, 1, 2)
	failFirst(t, p, backends, 2, 0)
	for range 100 {
		p.Pick(0, backends[:1])
	}
	p.OK(backends[2])
	counts := make([]int, 3)
	for _, i := range order(p, 0, 8) {
		counts[i]++
	}
	for i, want := range []int{2, 2, 4} {
		if off := counts[i] - want; off > 1 || off < -1 {
			t.Errorf("picked %v of 8 after the retries, want about [2 2 4]", counts)
		}
	}
}
