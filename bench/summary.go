package main

import (
	"math"
	"slices"
)

// summary is what is told of several samples of a figure: their median, and a
// confidence interval for it by order statistics. No distribution is assumed:
// the interval is from the k-th smallest to the k-th greatest sample, and misses
// the median of what was sampled only if fewer than k samples fall on one side
// of it, as coins do (the interval of the sign test; Le Boudec, Performance
// Evaluation of Computer and Communication Systems, 2.2). With up to eight
// samples it is from the least to the greatest; with more, a single stall of the
// machine does not spoil a figure.
type summary struct {
	Median, Low, High float64
}

// confidence is the least probability with which the interval is to hold the
// median: that of the least to the greatest of five samples. No interval of
// fewer reaches it; of three it is 3/4.
const confidence = 15. / 16

// summarize returns the summary of at least one sample.
func summarize(samples []float64) summary {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	k := intervalRank(n)
	return summary{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[k-1], High: sorted[n-k]}
}

// intervalRank returns the greatest k for which the interval from the k-th
// smallest to the k-th greatest of n samples has the confidence, which is the
// narrowest one; 1 if none has.
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

// wholeRange is the summary with the range of all samples in place of the
// interval: for counts, of which the rarest is a finding too.
func wholeRange(samples []float64) summary {
	s := summarize(samples)
	s.Low, s.High = slices.Min(samples), slices.Max(samples)
	return s
}

// spread is the width of the interval in parts of the median.
func (s summary) spread() float64 {
	if s.High == s.Low {
		return 0
	}
	return (s.High - s.Low) / s.Median
}
