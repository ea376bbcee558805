package main

import (
	"math"
	"slices"
)

// summary is the median of several samples of a figure, and a confidence interval
// for it by order statistics. It assumes no distribution: the interval is from the
// k-th smallest to the k-th greatest sample, and misses the true median only if
// fewer than k samples fall on one side of it, like coins (the interval of the sign
// test; Le Boudec, Performance Evaluation of Computer and Communication Systems,
// 2.2). With up to eight samples it is from the least to the greatest; with more, a
// single stall of the machine does not spoil a figure.
type summary struct {
	Median, Low, High float64
}

// confidence is the least probability with which the interval contains the median:
// that of the range of five samples. Fewer samples do not reach it; the range of
// three has 3/4.
const confidence = 15. / 16

// summarize returns the summary of at least one sample.
func summarize(samples []float64) summary {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	k := intervalRank(n)
	return summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[k-1], High: sorted[n-k]}
}

// intervalRank returns the greatest k for which the interval from the k-th smallest
// to the k-th greatest of n samples reaches the confidence: the narrowest interval.
// It returns 1 if no interval does.
func intervalRank(n int) int {
	k, missed := 1, 2*heads(n, 0)
	for {
		missed += 2 * heads(n, k) // fewer than k + 1 on one side or on the other
		if 1-missed < confidence {
			return k
		}
		k++
	}
}

// heads returns the probability that k of n coins show heads.
func heads(n, k int) float64 {
	all, _ := math.Lgamma(float64(n + 1))
	some, _ := math.Lgamma(float64(k + 1))
	others, _ := math.Lgamma(float64(n - k + 1))
	return math.Exp(all - some - others - float64(n)*math.Ln2)
}

// wholeRange returns the summary with the range of all samples as its interval, for
// counts, whose extremes matter.
func wholeRange(samples []float64) summary {
	s := summarize(samples)
	s.Low, s.High = slices.Min(samples), slices.Max(samples)
	return s
}

// spread returns the width of the interval in parts of the median.
func (s summary) spread() float64 {
	if s.High == s.Low {
		return 0
	}
	return (s.High - s.Low) / s.Median
}
