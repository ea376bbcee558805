package main

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"l4proxy/bench/chart"
	"l4proxy/bench/traffic"
)

// applied is one change: when it was made, and the number of the origin that new
// clients should meet after it.
type applied struct {
	at     int64 // by [traffic.Now]
	number int
}

// changed is everything that was seen while a proxy was changed.
type changed struct {
	at            []applied
	before, after census
	course        []census
	cpu           float64 // seconds
	visits        []traffic.Visited
	flows         []traffic.Flowed
}

// figures returns the figures, and how clients and flows failed. It is an error if
// one failed before the first change.
func (r changed) figures() (figures, map[string]uint64, error) {
	failures := make(map[string]uint64)
	var (
		failed, lost int
		slowest      time.Duration
		stalls       []float64
	)
	first := r.at[0].at
	for _, v := range r.visits {
		if v.Failure == "" {
			slowest = max(slowest, v.Took)
			continue
		}
		if v.Began+int64(v.Took) < first {
			return nil, nil, fmt.Errorf("a client failed before any change: %s", v.Failure)
		}
		failed++
		failures["new client: "+v.Failure]++
	}
	for _, f := range r.flows {
		stalls = append(stalls, milliseconds(f.Stall))
		if f.Lost == 0 {
			continue
		}
		if f.Lost < first {
			return nil, nil, fmt.Errorf("a flow was lost before any change: %s", f.Failure)
		}
		lost++
		failures["long flow: "+f.Failure]++
	}
	sort.Float64s(stalls)
	inEffect, old := r.effects()
	peak := r.before.pss
	for _, c := range r.course {
		peak = max(peak, c.pss)
	}
	const mb = 1 << 20
	f := figures{
		"failed": float64(failed), "flows lost": float64(lost), "slowest answer ms": milliseconds(slowest),
		"stall p50 ms": atPercent(stalls, 50), "stall p99 ms": atPercent(stalls, 99), "stall max ms": atPercent(stalls, 100),
		"in effect": float64(inEffect), "old processes": float64(max(0, r.after.processes-r.before.processes)),
		"MB before": r.before.pss / mb, "MB peak": peak / mb, "MB after": r.after.pss / mb,
		"CPU s": r.cpu,
	}
	if len(old) > 0 {
		f["old backends ms"] = summarize(old).Median
	}
	return f, failures, nil
}

// atPercent returns a percentile of sorted values, 0 without any.
func atPercent(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

// effects returns how many changes were in effect before the next one, and for
// each of those how many milliseconds after it the last client met the old
// backends. A change that finds its own backends in place, because the one before
// it did not happen, has no effect.
func (r changed) effects() (inEffect int, old []float64) {
	current := 1
	for i, change := range r.at {
		until := int64(1<<63 - 1)
		if i+1 < len(r.at) {
			until = r.at[i+1].at
		}
		var lastOld int64
		lastNumber := 0
		for _, v := range r.visits {
			if v.Began < change.at || v.Began >= until || v.Failure != "" {
				continue
			}
			if lastNumber = v.Backend; v.Backend != change.number {
				lastOld = v.Began - change.at
			}
		}
		if lastNumber == 0 {
			continue
		}
		changed := current != lastNumber
		if current = lastNumber; changed && current == change.number {
			inEffect++
			old = append(old, milliseconds(time.Duration(lastOld)))
		}
	}
	return inEffect, old
}

// timeline returns the course in seconds after the first change: the flows that
// were alive, the processes, their memory, and the clients that failed since the
// entry before.
func (r changed) timeline() samples {
	var all samples
	before := r.at[0].at
	for _, c := range r.course {
		alive, failed := 0, 0
		for _, f := range r.flows {
			if f.Opened > 0 && f.Opened <= c.at && (f.Lost == 0 || f.Lost > c.at) {
				alive++
			}
		}
		// Visits are in the order in which they began.
		from, _ := slices.BinarySearchFunc(r.visits, before, func(v traffic.Visited, at int64) int { return int(v.Began - at) })
		for _, v := range r.visits[from:] {
			if v.Began >= c.at {
				break
			}
			if v.Failure != "" {
				failed++
			}
		}
		before = c.at
		all = append(all, figures{
			"seconds": significant(seconds(c.at-r.at[0].at), 4), "flows": float64(alive), "failed": float64(failed),
			"processes": float64(c.processes), "pss": significant(c.pss, 4),
		})
	}
	return all
}

// changes returns the timelines of a scenario in which the peers are changed,
// without the panels about failures in which all is well.
func (r result) changes() []chart.Panel {
	if r.size.change == "" {
		return nil
	}
	panels := []chart.Panel{
		{Y: chart.Axis{Label: "Processes"}},
		{Y: chart.Axis{Label: "Memory of all processes", Unit: "MB"}},
		{Y: chart.Axis{Label: "Long flows"}},
		{Y: chart.Axis{Label: "Failed clients", Unit: "per 250 ms"}},
	}
	figure := []func(figures) float64{
		func(f figures) float64 { return f["processes"] },
		func(f figures) float64 { return f["pss"] / (1 << 20) },
		func(f figures) float64 { return f["flows"] },
		func(f figures) float64 { return f["failed"] },
	}
	for _, row := range r.Rows {
		for i := range panels {
			s := chart.Series{Peer: row.Peer}
			for _, at := range row.Timeline {
				s.Points = append(s.Points, chart.Point{X: at["seconds"], Y: figure[i](at)})
			}
			if len(s.Points) > 1 {
				panels[i].Series = append(panels[i].Series, s)
			}
		}
	}
	return slices.DeleteFunc(panels, func(p chart.Panel) bool { return !slices.ContainsFunc(p.Series, anything) })
}
