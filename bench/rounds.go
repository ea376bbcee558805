package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// result is the figures of one scenario.
type result struct {
	Scenario string `json:"scenario"`
	// Rate is that of an open loop, in operations per second.
	Rate float64 `json:"rate,omitempty"`
	// Date is the day of the measurement (UTC): a report may contain older ones.
	Date string `json:"date,omitempty"`
	// The figures come from that number of Rounds, each of that Duration.
	Rounds   int    `json:"rounds"`
	Duration string `json:"duration"`
	Rows     []row  `json:"rows"`

	scenario // not in report.json: it follows from the name
}

// row is the figures of one peer in one scenario.
type row struct {
	Peer string `json:"peer"`
	// Samples has one entry per round, in the order of the rounds.
	Samples samples `json:"samples"`
	// Timeline is that of the last round, if the scenario has one.
	Timeline samples `json:"timeline,omitempty"`
	// In outages, Failures are those of all rounds by what happened, and Course is
	// that of the last round.
	Failures map[string]uint64 `json:"failures,omitempty"`
	Course   *course           `json:"course,omitempty"`
	Failed   string            `json:"failed,omitempty"`
	Role     role              `json:"role"`
	// Beside is the peer that it is compared with, in place of the best rival.
	Beside string `json:"beside,omitempty"`
	// Ratios to that peer or to the best rival, for ours only, by metric. They follow
	// from the samples.
	Ratios map[string]ratio `json:"-"`
}

// ratio is a figure of ours divided by a rival's.
type ratio struct {
	To string // the other peer
	summary
}

// measureRounds measures each peer once per round, in the order A B C, C B A, A B
// C: a drift of the machine affects all peers, and none always follows the same
// other.
func measureRounds(ctx context.Context, l *lab, s scenario, peers []peer, rounds int) (result, error) {
	r := result{
		Scenario: s.name, scenario: s, Rounds: rounds, Duration: max(l.duration, s.atLeast).String(),
	}
	if s.peers != nil {
		peers = s.peers(peers)
	}
	for _, p := range peers {
		r.Rows = append(r.Rows, row{Peer: p.name, Role: p.role, Beside: p.beside})
	}
	if s.share > 0 {
		slowest, err := l.slowest(ctx, peers)
		if err != nil {
			return r, err
		}
		r.Rate = s.share * slowest
	}
	for round := range rounds {
		l.progress = (float64(round) + 0.5) / float64(rounds)
		for _, i := range order(len(peers), round) {
			p, row := peers[i], &r.Rows[i]
			if s.proxied && p.command == nil || p.lacks(l.place, s.size) != "" || row.Failed != "" {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s\n", s.name, round+1, rounds, p.name)
			m, err := l.measure(ctx, p, s, r.Rate)
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", s.name, p.name, err)
				row.Failed = err.Error()
				continue
			}
			row.Samples, row.Timeline, row.Course = append(row.Samples, m.figures.kept(s.metrics)), m.timeline, m.course
			row.addFailures(m.failures)
		}
	}
	r.Rows = slices.DeleteFunc(r.Rows, func(row row) bool { return len(row.Samples) == 0 && row.Failed == "" })
	compare(&r)
	return r, nil
}

// addFailures adds the failures of a round.
func (r *row) addFailures(failures map[string]uint64) {
	for sentence, n := range failures {
		if r.Failures == nil {
			r.Failures = make(map[string]uint64)
		}
		r.Failures[sentence] += n
	}
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

// compare sets the ratios of our rows to the best rival, for each metric, or to the
// peer that they are measured beside. The best rival has the best median. Our figure is
// divided by its figure of the same round, because what disturbs a round disturbs both.
func compare(r *result) {
	for i := range r.Rows {
		mine := &r.Rows[i]
		if mine.Role != ours || mine.Failed != "" {
			continue
		}
		mine.Ratios = make(map[string]ratio)
		for _, m := range r.metrics {
			best, ok := mine.other(r.Rows, m)
			if m.uncompared || !ok {
				continue
			}
			var ratios []float64
			for round, f := range mine.Samples {
				value, has := f[m.name]
				theirs, had := best.Samples[round][m.name]
				if has && had && theirs != 0 {
					ratios = append(ratios, value/theirs)
				}
			}
			if len(ratios) > 0 {
				mine.Ratios[m.name] = ratio{To: best.Peer, summary: summarize(ratios)}
			}
		}
	}
}

// other returns the row that a metric of r is compared with.
func (r row) other(rows []row, m metric) (other row, ok bool) {
	if r.Beside == "" {
		return bestRival(rows, m)
	}
	i := slices.IndexFunc(rows, func(other row) bool { return other.Peer == r.Beside && other.Failed == "" })
	if i < 0 {
		return row{}, false
	}
	return rows[i], true
}

// bestRival returns the rival with the best median of a metric.
func bestRival(rows []row, m metric) (best row, ok bool) {
	var reached float64
	for _, row := range rows {
		samples := row.values(m.name)
		if row.Role != rival || row.Failed != "" || len(samples) == 0 {
			continue
		}
		median := summarize(samples).Median
		if !ok || m.higher && median > reached || !m.higher && median < reached {
			best, reached, ok = row, median, true
		}
	}
	return best, ok
}

// values returns the samples of a metric.
func (r row) values(name string) []float64 {
	var values []float64
	for _, f := range r.Samples {
		if value, ok := f[name]; ok {
			values = append(values, value)
		}
	}
	return values
}

// slowest returns the highest rate of the slowest proxy, in requests per second. It
// is measured once.
func (l *lab) slowest(ctx context.Context, peers []peer) (float64, error) {
	if l.slowestRate > 0 {
		return l.slowestRate, nil
	}
	s, _ := findScenario("request-64")
	for _, p := range peers {
		if p.role == ceiling {
			continue
		}
		fmt.Fprintf(os.Stderr, "highest rate: %s\n", p.name)
		m, err := l.measure(ctx, p, s, 0)
		if err != nil {
			return 0, fmt.Errorf("the highest rate of %s: %w", p.name, err)
		}
		if rate := m.figures["requests/s"]; l.slowestRate == 0 || rate < l.slowestRate {
			l.slowestRate = rate
		}
	}
	if l.slowestRate == 0 {
		return 0, errors.New("no proxy whose highest rate could be measured")
	}
	return l.slowestRate, nil
}
