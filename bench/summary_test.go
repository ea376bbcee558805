package main

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		samples []float64
		want    summary
		spread  float64
	}{
		{[]float64{5}, summary{5, 5, 5}, 0},
		{[]float64{3, 1, 2}, summary{2, 1, 3}, 1},
		{[]float64{4, 1, 2, 3}, summary{2.5, 1, 4}, 1.2},
		{[]float64{0, 0}, summary{0, 0, 0}, 0},
		{[]float64{1, 2, 3, 4, 100}, summary{3, 1, 100}, 33},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 100}, summary{5, 2, 8}, 1.2},
	} {
		got := summarize(test.samples)
		if got != test.want || math.Abs(got.spread()-test.spread) > 1e-9 {
			t.Errorf("%v: %+v with spread %v, want %+v with %v", test.samples, got, got.spread(), test.want, test.spread)
		}
	}
	if got, want := wholeRange([]float64{1, 2, 3, 4, 5, 6, 7, 8, 100}), (summary{5, 1, 100}); got != want {
		t.Errorf("wholeRange: %+v, want %+v", got, want)
	}
}

// TestIntervalRank compares with tables of the sign test, which give the coverage with each rank.
func TestIntervalRank(t *testing.T) {
	for _, test := range []struct {
		n, want int
		// coverage is that of the wanted rank, in %, and next that of the one after it.
		coverage, next float64
	}{
		{1, 1, 0, -100}, {2, 1, 50, -50}, {3, 1, 75, 0}, {4, 1, 87.5, 37.5}, {5, 1, 93.8, 62.5}, {6, 1, 96.9, 78.1},
		{7, 1, 98.4, 87.5}, {8, 1, 99.2, 93.0}, {9, 2, 96.1, 82.0}, {10, 2, 97.9, 89.1}, {11, 2, 98.8, 93.5}, {12, 3, 96.1, 85.4},
		{20, 6, 95.9, 88.5}, {30, 10, 95.7, 90.1}, {100, 41, 94.3, 91.1}, {5000, 2434, 94.0, 93.6},
	} {
		if got := intervalRank(test.n); got != test.want {
			t.Errorf("%d samples: rank %d, want %d", test.n, got, test.want)
		}
		for i, want := range []float64{test.coverage, test.next} {
			if got, _ := coverage(test.n, test.want+i).Float64(); math.Abs(100*got-want) > 0.06 {
				t.Errorf("%d samples from rank %d: coverage %.2f %%, want %v", test.n, test.want+i, 100*got, want)
			}
		}
	}
}

// coverage returns, in whole numbers, 1 - 2 P(fewer than k of n coins show heads).
func coverage(n, k int) *big.Rat {
	tosses, fewer, c := new(big.Int).Lsh(big.NewInt(1), uint(n)), new(big.Int), big.NewInt(1)
	for i := range k {
		fewer.Add(fewer, c)
		c.Mul(c, big.NewInt(int64(n-i))) // C(n, i+1) = C(n, i) (n-i) / (i+1)
		c.Div(c, big.NewInt(int64(i+1)))
	}
	return new(big.Rat).Sub(big.NewRat(1, 1), new(big.Rat).SetFrac(fewer.Lsh(fewer, 1), tosses))
}

// The interval reaches the confidence, and the next narrower one does not.
func TestIntervalRankIsExact(t *testing.T) {
	atLeast := big.NewRat(15, 16)
	for n := 1; n <= 300; n++ {
		k := intervalRank(n)
		if n >= 5 && coverage(n, k).Cmp(atLeast) < 0 || coverage(n, k+1).Cmp(atLeast) >= 0 {
			t.Errorf("%d samples: rank %d is not the greatest with a coverage of 15/16", n, k)
		}
	}
}

// TestIntervalHoldsTheMedian draws samples whose median is known, with a long tail as that of
// latencies.
func TestIntervalHoldsTheMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const draws = 4000
	for _, n := range []int{5, 12, 40} {
		held := 0
		for range draws {
			samples := make([]float64, n)
			for i := range samples {
				samples[i] = math.Exp(2 * random.NormFloat64())
			}
			if s := summarize(samples); s.Low <= 1 && 1 <= s.High {
				held++
			}
		}
		if share := float64(held) / draws; share < confidence-0.015 {
			t.Errorf("%d samples: the interval holds the median in %.3f of all cases", n, share)
		}
	}
}
