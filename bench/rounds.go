package main

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// result is one scenario's figures.
type result struct {
	Scenario string `json:"scenario"`
	About    string `json:"about"`
	Rows     []row  `json:"rows"`

	metrics []metric
}

// row is one peer's figures in one scenario.
type row struct {
	Peer string `json:"peer"`
	// Samples has one entry a round, in the order of the rounds.
	Samples []figures `json:"samples"`
	// Ratios to the better rival, for ours only, by metric.
	Ratios map[string]summary `json:"ratios,omitempty"`
	Failed string             `json:"failed,omitempty"`

	role role
}

// measureRounds measures each peer once a round, in turns A B C, C B A, A B C:
// what drifts in the machine meets all of them, and none always comes after the
// same other.
func measureRounds(ctx context.Context, l *lab, name string, s scenario, peers []peer, rounds int) (result, error) {
	r := result{Scenario: name, About: s.about, metrics: s.metrics}
	for _, p := range peers {
		r.Rows = append(r.Rows, row{Peer: p.name, role: p.role})
	}
	for round := range rounds {
		for _, i := range order(len(peers), round) {
			p, row := peers[i], &r.Rows[i]
			if s.proxied && p.command == nil || row.Failed != "" {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s\n", name, round+1, rounds, p.name)
			f, err := l.measure(ctx, p, s)
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", name, p.name, err)
				row.Failed = err.Error()
				continue
			}
			row.Samples = append(row.Samples, f)
		}
	}
	r.Rows = slices.DeleteFunc(r.Rows, func(row row) bool { return len(row.Samples) == 0 && row.Failed == "" })
	compare(&r)
	return r, nil
}

// order returns the indices of n peers in the order of a round.
func order(n, round int) []int {
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	if round%2 == 1 {
		slices.Reverse(indices)
	}
	return indices
}

// compare fills in the ratios of our rows to the better rival of the same
// round, for each metric on its own.
func compare(r *result) {
	for i := range r.Rows {
		mine := &r.Rows[i]
		if mine.role != ours || mine.Failed != "" {
			continue
		}
		mine.Ratios = make(map[string]summary)
		for _, m := range r.metrics {
			if m.uncompared {
				continue
			}
			var ratios []float64
			for round, f := range mine.Samples {
				best, ok := bestRival(r.Rows, m, round)
				if value, has := f[m.name]; ok && has && best != 0 {
					ratios = append(ratios, value/best)
				}
			}
			if len(ratios) > 0 {
				mine.Ratios[m.name] = summarize(ratios)
			}
		}
	}
}

// bestRival returns the best figure that a rival reached in a round.
func bestRival(rows []row, m metric, round int) (best float64, ok bool) {
	for _, row := range rows {
		if row.role != rival || row.Failed != "" {
			continue
		}
		value, has := row.Samples[round][m.name]
		if has && (!ok || m.higher && value > best || !m.higher && value < best) {
			best, ok = value, true
		}
	}
	return best, ok
}

// summary is what is told of several samples of a figure.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns the summary of at least one sample.
func summarize(samples []float64) summary {
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	return summary{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// spread is the width of the samples in parts of their median.
func (s summary) spread() float64 {
	if s.Max == s.Min {
		return 0
	}
	return (s.Max - s.Min) / s.Median
}
