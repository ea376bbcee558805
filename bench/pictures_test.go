package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"l4proxy/bench/chart"
)

// madeUp is a report with something for every picture.
func madeUp() report {
	steady := func(peer string, r role, f figures) row {
		return row{Peer: peer, Role: r, Samples: []figures{f, f, f}}
	}
	r := report{NoiseLimit: 0.4, Machine: machine{CPUs: 2, CPU: "CPU", Kernel: "6.18", Network: "loopback", Date: "2026-01-02"}}
	for _, c := range curvesOf {
		for _, x := range []float64{1, 64, 4000} {
			r.Results = append(r.Results, result{Scenario: "some", scenario: scenario{family: c.family, x: x}, Rows: []row{
				steady("haproxy", rival, figures{c.metric: 100 + x}),
				steady("l4proxy io_uring", ours, figures{c.metric: 50 + x}),
			}})
		}
	}
	percentiles := figures{"p50 ms": 0.1, "p90 ms": 0.2, "p99 ms": 0.9, "p99.9 ms": 2, "max ms": 7}
	timeline := samples{{"seconds": 0}, {"seconds": 1, "operations": 10, "cpu": 0.5, "pss": 1 << 20}, {"seconds": 2, "operations": 11, "cpu": 0.5, "pss": 1 << 20}, {"seconds": 3}}
	bad := &course{From: -1, Until: 10, Bad: []badPart{{Part: 3, Failed: 2}, {Part: 4, Slow: 1}}}
	r.Results = append(r.Results,
		result{Scenario: "outage-kill", Rows: []row{
			{Peer: "nginx", Role: rival, Course: bad}, {Peer: "haproxy", Role: rival, Failed: "no luck"},
			{Peer: "l4proxy epoll", Role: ours, Course: &course{From: -1, Until: 10}},
		}},
		result{Scenario: "latency-60", scenario: scenario{family: "latency"}, Rate: 1000, Rows: []row{steady("nginx", rival, percentiles), steady("l4proxy epoll", ours, percentiles)}},
		result{Scenario: "sustained", Rate: 1000, Rows: []row{{Peer: "nginx", Role: rival, Samples: []figures{{}}, Timeline: timeline}}},
		result{Scenario: "connection-64", Rows: []row{
			steady("haproxy", rival, figures{"CPU µs/connection": 80}),
			steady("nginx", rival, figures{"CPU µs/connection": 75}),
			steady("l4proxy io_uring", ours, figures{"CPU µs/connection": 60}),
			{Peer: "l4proxy epoll", Role: ours, Samples: []figures{{"CPU µs/connection": 10}, {"CPU µs/connection": 90}}},
			steady("direct", ceiling, figures{"CPU µs/connection": 1}),
		}},
	)
	return r
}

func TestPictures(t *testing.T) {
	dir := t.TempDir()
	r := madeUp()
	if err := r.draw(dir); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Collect(maps.Keys(curvesOf)), "latency-60.svg", "outage-kill.svg", "sustained.svg", "costs.svg")
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(r.pictures())); !slices.Equal(got, want) {
		t.Errorf("pictures %q, want %q", got, want)
	}
	for _, name := range want {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		decoder := xml.NewDecoder(strings.NewReader(string(data)))
		for err == nil {
			_, err = decoder.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// If all clients are well there is nothing to draw.
func TestCourses(t *testing.T) {
	r := result{Rows: []row{{Peer: "a", Course: &course{From: -1, Until: 1}}}}
	if panels := r.courses(); len(panels) != 0 {
		t.Errorf("%d panels of nothing", len(panels))
	}
	r.Rows = append(r.Rows, row{Peer: "b", Course: &course{From: -1, Until: 1, Bad: []badPart{{Slow: 1}}}})
	panels := r.courses()
	if len(panels) != 1 || len(panels[0].Series) != 2 || panels[0].Y.Label != "Clients answered after more than 100 ms" {
		t.Errorf("panels %+v, want one with both peers", panels)
	}
}

// A figure that is too noisy for the table is not drawn either, and costs are ratios
// to the rival with the best median.
func TestCosts(t *testing.T) {
	groups := madeUp().costs()
	if len(groups) != 2 { // the other one is that of latency-60
		t.Fatalf("%d groups, want 2", len(groups))
	}
	var got []string
	for _, bar := range groups[0].Bars {
		got = append(got, bar.Peer+" "+bar.Missing)
	}
	if want := []string{"haproxy ", "nginx ", "l4proxy io_uring ", "l4proxy epoll too noisy"}; !slices.Equal(got, want) {
		t.Errorf("bars %q, want %q", got, want)
	}
	if got := groups[0].Bars[2].Value; got != 0.8 {
		t.Errorf("ratio %v, want 60/75", got)
	}
}

// Points and bars have the interval of the table, and are missing if the table calls them too
// noisy.
func TestPicturesDrawTheInterval(t *testing.T) {
	const metric = "CPU µs/request"
	at := func(connections float64, rounds int) result {
		stall, even := row{Peer: "l4proxy epoll", Role: ours}, row{Peer: "nginx", Role: rival}
		for _, value := range stalled(rounds) {
			stall.Samples = append(stall.Samples, figures{metric: value})
			even.Samples = append(even.Samples, figures{metric: 50})
		}
		return result{Scenario: fmt.Sprintf("request-%.0f", connections), scenario: scenario{family: "request", x: connections}, Rows: []row{even, stall}}
	}
	r := report{NoiseLimit: 0.4, Results: []result{at(1, 5), at(64, 12), at(4000, 12)}}
	curves := r.curves(curvesOf["cpu.svg"])
	if len(curves) != 2 {
		t.Fatalf("%d curves, want 2", len(curves))
	}
	want := []chart.Point{{X: 64, Y: 105.5, Low: 102, High: 109}, {X: 4000, Y: 105.5, Low: 102, High: 109}}
	if got := curves[1].Points; !slices.Equal(got, want) {
		t.Errorf("points %+v, want %+v", got, want)
	}
	bar := r.costs()[0].Bars[1]
	if want := (chart.Bar{Peer: "l4proxy epoll", Value: 2.11, Low: 2.04, High: 2.18}); bar != want {
		t.Errorf("bar %+v, want %+v", bar, want)
	}
}
