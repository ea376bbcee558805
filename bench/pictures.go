package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"l4proxy/bench/chart"
)

// pictures returns the pictures that r has figures for, by file name. Parts that
// were not measured, or are too noisy, are left out.
func (r report) pictures() map[string]chart.Picture {
	all := make(map[string]chart.Picture)
	for name, curve := range curvesOf {
		if series := r.curves(curve); len(series) > 0 {
			all[name] = chart.Lines{
				Title: curve.title, X: curve.x,
				Subtitle: r.Machine.short(r.newest(func(of result) bool { return of.family == curve.family })),
				Panels:   []chart.Panel{{Y: curve.y, Series: series}},
			}
		}
	}
	for _, result := range r.Results {
		if result.family == "latency" {
			if series := result.percentiles(); len(series) > 0 {
				all[result.Scenario+".svg"] = chart.Lines{
					Title:    fmt.Sprintf("Latency at %.0f requests per second", result.Rate),
					Subtitle: r.Machine.short(result.Date), X: chart.Axis{Label: "Percentile", Scale: chart.Percentile},
					Panels: []chart.Panel{{Y: chart.Axis{Label: "Latency", Unit: "ms", Scale: chart.Log}, Series: series}},
				}
			}
		}
		if panels := result.courses(); len(panels) > 0 {
			all[result.Scenario+".svg"] = chart.Lines{
				Title:    result.title,
				Subtitle: "By the time at which clients came. " + r.Machine.short(result.Date), X: chart.Axis{Label: "Time since the fault", Unit: "s"}, Panels: panels,
			}
		}
		if panels := result.changes(); len(panels) > 0 {
			all[result.Scenario+".svg"] = chart.Lines{
				Title:    result.title,
				Subtitle: r.Machine.short(result.Date), X: chart.Axis{Label: "Time since the first change", Unit: "s"}, Panels: panels,
			}
		} else if panels := result.panels(); len(panels) > 0 {
			all[result.Scenario+".svg"] = chart.Lines{
				Title:    fmt.Sprintf("Steady load: %.0f requests per second", result.Rate),
				Subtitle: r.Machine.short(result.Date), X: chart.Axis{Label: "Time", Unit: "s"}, Panels: panels,
			}
		}
	}
	if groups := r.costs(); len(groups) > 0 {
		all["costs.svg"] = chart.Bars{
			Title:    "Cost of the same work: less is better",
			Subtitle: "Ratio to the better of HAProxy and nginx. " + r.Machine.short(r.newest(func(of result) bool { return len(of.changes()) == 0 })),
			Label:    "Cost, relative", Groups: groups, Reference: 1, ReferenceLabel: "the better of HAProxy and nginx",
		}
	}
	return all
}

// newest is the last day on which one of the results that include accepts was measured.
func (r report) newest(include func(result) bool) (date string) {
	for _, of := range r.Results {
		if include(of) {
			date = max(date, of.Date)
		}
	}
	return date
}

// draw writes the pictures into dir.
func (r report) draw(dir string) error {
	for name, picture := range r.pictures() {
		svg, err := picture.SVG()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// curve is a metric of a family of scenarios.
type curve struct {
	title, family, metric string
	x, y                  chart.Axis
}

var (
	byConnections = chart.Axis{Label: "Connections", Scale: chart.Log}
	byClients     = chart.Axis{Label: "Clients at a time", Scale: chart.Log}
)

var curvesOf = map[string]curve{
	"throughput.svg": {"Requests per second", "request", "requests/s", byConnections, chart.Axis{Label: "Requests per second"}},
	"cpu.svg":        {"CPU time of the proxy per request", "request", "CPU µs/request", byConnections, chart.Axis{Label: "CPU time", Unit: "µs"}},
	"size.svg": {"Answers of different sizes", "size", "requests/s",
		chart.Axis{Label: "Bytes per answer", Scale: chart.Log}, chart.Axis{Label: "Requests per second"}},
	"connections.svg": {"Connections per second", "connection", "connections/s", byClients, chart.Axis{Label: "Connections per second"}},
	"connection-cpu.svg": {"CPU time of the proxy per connection", "connection", "CPU µs/connection", byClients,
		chart.Axis{Label: "CPU time", Unit: "µs"}},
	"memory.svg": {"Memory of the proxy", "idle", "PSS MB", chart.Axis{Label: "Idle connections"}, chart.Axis{Label: "Memory", Unit: "MB"}},
	"backends.svg": {"Connections per second, by backends in the pool", "backends", "connections/s",
		chart.Axis{Label: "Backends", Scale: chart.Log}, chart.Axis{Label: "Connections per second"}},
	"prefixes.svg": {"Connections per second, by prefixes in the access control list", "prefixes", "connections/s",
		chart.Axis{Label: "Prefixes", Scale: chart.Log}, chart.Axis{Label: "Connections per second"}},
}

// curves returns the points of each peer that has any.
func (r report) curves(c curve) []chart.Series {
	var all []chart.Series
	for _, result := range r.Results {
		if result.family != c.family {
			continue
		}
		for _, row := range result.Rows {
			s, ok := row.shown(c.metric, r.NoiseLimit)
			if !ok {
				continue
			}
			point := chart.Point{X: result.x, Y: s.Median, Low: s.Low, High: s.High}
			i := slices.IndexFunc(all, func(s chart.Series) bool { return s.Peer == row.Peer })
			if i < 0 {
				i, all = len(all), append(all, chart.Series{Peer: row.Peer})
			}
			all[i].Points = append(all[i].Points, point)
		}
	}
	for i := range all {
		slices.SortFunc(all[i].Points, func(a, b chart.Point) int { return int(a.X - b.X) })
	}
	return slices.DeleteFunc(all, func(s chart.Series) bool { return len(s.Points) < 2 })
}

// shown returns the summary of a metric, unless there is none or it is too noisy.
func (r row) shown(metric string, noiseLimit float64) (summary, bool) {
	samples := r.values(metric)
	if r.Failed != "" || len(samples) == 0 {
		return summary{}, false
	}
	s := summarize(samples)
	return s, s.spread() <= noiseLimit
}

// percentiles returns a latency curve for each peer, without intervals: those of
// the tail would hide everything else.
func (r result) percentiles() []chart.Series {
	var all []chart.Series
	for _, row := range r.Rows {
		s := chart.Series{Peer: row.Peer}
		for _, at := range []struct {
			percentile float64
			metric     string
		}{{50, "p50 ms"}, {90, "p90 ms"}, {99, "p99 ms"}, {99.9, "p99.9 ms"}, {100, "max ms"}} {
			samples := row.values(at.metric)
			if row.Failed != "" || len(samples) == 0 {
				continue
			}
			s.Points = append(s.Points, chart.Point{X: at.percentile, Y: summarize(samples).Median})
		}
		if len(s.Points) > 1 {
			all = append(all, s)
		}
	}
	return all
}

// panels returns the timelines of the rows that have one.
func (r result) panels() []chart.Panel {
	panels := []chart.Panel{
		{Y: chart.Axis{Label: "Requests per second"}},
		{Y: chart.Axis{Label: "CPU", Unit: "% of one"}},
		{Y: chart.Axis{Label: "Memory", Unit: "MB"}},
	}
	figure := []func(figures) float64{
		func(f figures) float64 { return f["operations"] },
		func(f figures) float64 { return f["cpu"] * 100 },
		func(f figures) float64 { return f["pss"] / (1 << 20) },
	}
	for _, row := range r.Rows {
		if len(row.Timeline) < 3 {
			continue
		}
		for i := range panels {
			s := chart.Series{Peer: row.Peer}
			// The first and the last second are not complete.
			for _, at := range row.Timeline[1 : len(row.Timeline)-1] {
				s.Points = append(s.Points, chart.Point{X: at["seconds"], Y: figure[i](at)})
			}
			panels[i].Series = append(panels[i].Series, s)
		}
	}
	return slices.DeleteFunc(panels, func(p chart.Panel) bool { return len(p.Series) == 0 })
}

// courses returns how many clients of each peer failed or were slow over time,
// without panels in which all is well.
func (r result) courses() []chart.Panel {
	panels := []chart.Panel{
		{Y: chart.Axis{Label: "Failed clients", Unit: "per 100 ms"}},
		{Y: chart.Axis{Label: "Clients answered after more than 100 ms", Unit: "per 100 ms"}},
	}
	for _, row := range r.Rows {
		if row.Course == nil {
			continue
		}
		failed, slow := row.Course.points()
		panels[0].Series = append(panels[0].Series, chart.Series{Peer: row.Peer, Points: failed})
		panels[1].Series = append(panels[1].Series, chart.Series{Peer: row.Peer, Points: slow})
	}
	return slices.DeleteFunc(panels, func(p chart.Panel) bool { return !slices.ContainsFunc(p.Series, anything) })
}

// anything reports whether s is more than a line at 0.
func anything(s chart.Series) bool {
	return slices.ContainsFunc(s.Points, func(p chart.Point) bool { return p.Y != 0 })
}

// costs returns figures of several scenarios, all of the kind where less is better, each as a ratio
// to the best rival's.
func (r report) costs() []chart.Group {
	var groups []chart.Group
	for _, cost := range []struct{ name, scenario, metric string }{
		{"CPU time per request, 64 connections", "request-64", "CPU µs/request"},
		{"CPU time per request, 4,000 connections", "request-4000", "CPU µs/request"},
		{"CPU time per connection", "connection-64", "CPU µs/connection"},
		{"99th percentile of latency, 60 % load", "latency-60", "p99 ms"},
		{"CPU time per gigabyte, 8 streams", "bulk-8", "CPU s/GB"},
		{"Memory of an idle connection", "idle-4000", "PSS KB/connection"},
	} {
		i := slices.IndexFunc(r.Results, func(result result) bool { return result.Scenario == cost.scenario })
		if i < 0 {
			continue
		}
		best, ok := bestRival(r.Results[i].Rows, metric{name: cost.metric})
		if !ok {
			continue
		}
		reference := summarize(best.values(cost.metric)).Median
		g := chart.Group{Name: cost.name}
		for _, row := range r.Results[i].Rows {
			if row.Role == ceiling || len(row.values(cost.metric)) == 0 {
				continue
			}
			bar := chart.Bar{Peer: row.Peer}
			if s, ok := row.shown(cost.metric, r.NoiseLimit); ok {
				bar.Value, bar.Low, bar.High = s.Median/reference, s.Low/reference, s.High/reference
			} else {
				bar.Missing = "too noisy"
			}
			g.Bars = append(g.Bars, bar)
		}
		groups = append(groups, g)
	}
	return groups
}
