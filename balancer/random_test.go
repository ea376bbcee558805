package balancer

import (
	"math"
	"slices"
	"testing"
)

// checkShares holds that counts are within 5 standard deviations of a binomial distribution by
// weights. The seed is fixed, so that it fails always or never.
func checkShares(t *testing.T, counts []uint64, weights []int) {
	t.Helper()
	var picks, sum float64
	for i := range counts {
		picks += float64(counts[i])
		sum += float64(weights[i])
	}
	for i, n := range counts {
		share := float64(weights[i]) / sum
		if d := math.Abs(float64(n) - picks*share); d > 5*math.Sqrt(picks*share*(1-share)) {
			t.Errorf("weight %d of %v was picked %d times of %v", weights[i], sum, n, picks)
		}
	}
}

func TestRandomShares(t *testing.T) {
	weights := []int{1, 2, 3, 10, 34, 50, 1}
	p, backends := newPolicy(t, "random", weights...)
	for range 100_000 {
		p.Done(p.Pick(0, nil))
	}
	counts := make([]uint64, len(backends))
	for i, b := range backends {
		counts[i] = b.Total()
	}
	checkShares(t, counts, weights)
}

func TestRandomSharesWithoutSome(t *testing.T) {
	p, backends := newPolicy(t, "random", 5, 1, 2, 3, 4)
	failFirst(t, p, backends, 0, 0)
	counts := make([]uint64, len(backends))
	for range 100_000 {
		b := p.Pick(0, backends[3:4])
		counts[p.index(b)]++
		p.Done(b)
	}
	checkShares(t, counts, []int{0, 1, 2, 0, 4})
}

func TestRandomSeed(t *testing.T) {
	picks := func(seed uint64) []int {
		p, _ := newPolicyWith(t, Options{Policy: "random", Seed: seed}, newMembers(equal(100)...))
		return order(p, 0, 20)
	}
	if a, b := picks(1), picks(1); !slices.Equal(a, b) {
		t.Errorf("the same seed picked %v and %v", a, b)
	}
	if a, b := picks(1), picks(2); slices.Equal(a, b) {
		t.Errorf("different seeds both picked %v", a)
	}
}
