package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/bench/chart"
	"l4proxy/bench/traffic"
)

const ms = int64(time.Millisecond)

// seen is a change at 0 ms that takes effect after 30 ms, one at 100 ms that does not happen, and
// one at 200 ms that therefore finds its backends in place.
func seen() changed {
	visit := func(at int64, backend int) traffic.Visited {
		return traffic.Visited{Began: at * ms, Took: time.Millisecond, Connect: 1, Backend: backend}
	}
	failed := visit(60, 0)
	failed.Failure = "refused"
	return changed{
		at:     []applied{{0, 2}, {100 * ms, 1}, {200 * ms, 2}},
		before: census{processes: 3, pss: 1 << 20}, after: census{processes: 5, pss: 2 << 20},
		course: []census{{at: 50 * ms, processes: 3, pss: 4 << 20}, {at: 150 * ms, processes: 4, pss: 3 << 20}},
		cpu:    1.5,
		visits: []traffic.Visited{visit(-50, 1), visit(10, 1), visit(30, 1), visit(40, 2), failed, visit(90, 2), visit(150, 2), visit(250, 2)},
		flows: []traffic.Flowed{
			{Opened: 1, Stall: 5 * time.Millisecond},
			{Opened: 1, Lost: 120 * ms, Failure: "reset", Stall: 7 * time.Millisecond},
			{Opened: 60 * ms, Stall: time.Millisecond},
			{}, // never opened
		},
	}
}

func TestFiguresOfChanges(t *testing.T) {
	f, failures, err := seen().figures()
	if err != nil {
		t.Fatal(err)
	}
	want := figures{
		"failed": 1, "flows lost": 1, "slowest answer ms": 1, "stall p50 ms": 1, "stall p99 ms": 7, "stall max ms": 7,
		"in effect": 1, "old backends ms": 30, "old processes": 2, "MB before": 1, "MB peak": 4, "MB after": 2, "CPU s": 1.5,
	}
	for name, want := range want {
		if f[name] != want {
			t.Errorf("%s = %v, want %v", name, f[name], want)
		}
	}
	if failures["new client: refused"] != 1 || failures["long flow: reset"] != 1 || len(failures) != 2 {
		t.Errorf("failures %v", failures)
	}
}

// What fails before the first change is no result of a change.
func TestFailuresBeforeAnyChange(t *testing.T) {
	early := seen()
	early.visits[0].Failure = "early"
	lost := seen()
	lost.flows[1].Lost = -5 * ms
	for _, r := range []changed{early, lost} {
		if _, _, err := r.figures(); err == nil || !strings.Contains(err.Error(), "before any change") {
			t.Errorf("error %v", err)
		}
	}
}

func TestTimelineOfChanges(t *testing.T) {
	want := samples{
		{"seconds": 0.05, "flows": 2, "failed": 0, "processes": 3, "pss": 4 << 20},
		{"seconds": 0.15, "flows": 2, "failed": 1, "processes": 4, "pss": 3 << 20},
	}
	for i, got := range seen().timeline() {
		for name, value := range want[i] {
			if significant(got[name], 3) != significant(value, 3) {
				t.Errorf("entry %d: %s = %v, want %v", i, name, got[name], value)
			}
		}
	}
}

func TestPictureOfChanges(t *testing.T) {
	s, _ := findScenario(reload)
	r := result{Scenario: reload, scenario: s, Rows: []row{{Peer: "haproxy", Timeline: seen().timeline()}}}
	panels := r.changes()
	var labels []string
	for _, p := range panels {
		labels = append(labels, p.Y.Label)
	}
	if want := []string{"Processes", "Memory of all processes", "Long flows", "Failed clients"}; !slices.Equal(labels, want) {
		t.Errorf("panels %q, want %q", labels, want)
	}
	got := panels[1].Series[0].Points[0]
	got.Y = significant(got.Y, 3)
	if want := (chart.Point{X: 0.05, Y: 4}); got != want {
		t.Errorf("memory begins with %+v, want %+v", got, want)
	}
	calm := seen()
	calm.visits = calm.visits[:4]
	r.Rows[0].Timeline = calm.timeline()
	if panels := r.changes(); len(panels) != 3 {
		t.Errorf("%d panels without a failure, want 3", len(panels))
	}
	name := reload + ".svg"
	if _, ok := (report{Results: []result{r}}).pictures()[name]; !ok {
		t.Errorf("no picture %s", name)
	}
}
