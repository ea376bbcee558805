package main

import (
	"math"
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
	if got, want := everything([]float64{1, 2, 3, 4, 5, 6, 7, 8, 100}), (summary{5, 1, 100}); got != want {
		t.Errorf("everything: %+v, want %+v", got, want)
	}
}

// TestIntervalRank compares with tables of the sign test: k samples lie outside of the interval on each side, less one.
func TestIntervalRank(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 20: 6, 30: 10, 100: 41, 5000: 2434} {
		if got := intervalRank(n); got != want {
			t.Errorf("%d samples: rank %d, want %d", n, got, want)
		}
	}
}

// TestIntervalHoldsTheMedian draws samples whose median is known, with a long tail as that of latencies.
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
