package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestOrder(t *testing.T) {
	for round, want := range [][]int{{0, 1, 2}, {2, 1, 0}, {0, 1, 2}} {
		if got := order(3, round); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, want %v", round, got, want)
		}
	}
}

// twoRounds is a scenario in which the rivals take turns at being better; a has the better medians.
func twoRounds() result {
	r := result{
		Scenario: "made-up",
		scenario: scenario{
			about:   "About it.",
			metrics: []metric{{name: "rate", higher: true}, {name: "cost", digits: 1}, {name: "share", digits: 1, uncompared: true}},
		},
		Rows: []row{
			{Peer: "direct", Role: ceiling, Samples: []figures{{"rate": 1000}, {"rate": 1000}}},
			{Peer: "a", Role: rival, Samples: []figures{{"rate": 100, "cost": 4, "share": 4}, {"rate": 120, "cost": 5, "share": 5}}},
			{Peer: "b", Role: rival, Samples: []figures{{"rate": 110, "cost": 8}, {"rate": 100, "cost": 4}}},
			{Peer: "c", Role: rival, Failed: "no\nluck | at all"},
			{Peer: "l4proxy", Role: ours, Samples: []figures{{"rate": 121, "cost": 2, "share": 1}, {"rate": 120, "cost": 3, "share": 1}}},
		},
	}
	compare(&r)
	return r
}

func TestCompareWithTheRivalOfTheBestMedian(t *testing.T) {
	r := twoRounds()
	for name, want := range map[string][2]float64{
		"rate": {1, 1.21},  // 120/120 and 121/100
		"cost": {0.5, 0.6}, // 2/4 and 3/5
	} {
		got := r.Rows[4].Ratios[name]
		if got.To != "a" {
			t.Errorf("%s is compared with %q, want a", name, got.To)
		}
		if math.Abs(got.Low-want[0]) > 1e-9 || math.Abs(got.High-want[1]) > 1e-9 {
			t.Errorf("%s: %v to %v, want %v", name, got.Low, got.High, want)
		}
	}
	for _, row := range r.Rows[:4] {
		if row.Ratios != nil {
			t.Errorf("%s has ratios", row.Peer)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	twoRounds().markdown(&b, 0.4)
	want := `
## made-up

About it.

| peer | rate | cost | share |
|---|---|---|---|
| direct | 1000 (1000–1000) | – | – |
| a | 110 (100–120) | 4.5 (4.0–5.0) | 4.5 (4.0–5.0) |
| b | 105 (100–110) | too noisy (4.0–8.0) | – |
| c | failed: no luck / at all | | |
| l4proxy | 120 (120–121) | 2.5 (2.0–3.0) | 1.0 (1.0–1.0) |
| l4proxy ÷ best rival | 1.10 (1.00–1.21) | 0.55 (0.50–0.60) | – |
`
	if got := b.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// Counts of an outage are shown as they are, and how clients failed.
func TestMarkdownOfCounts(t *testing.T) {
	r := result{Scenario: "made-up", scenario: scenario{about: "About it.", metrics: []metric{{name: "failed", uncompared: true, noisy: true}}}}
	for peer, failed := range map[string][]float64{"a": {0, 0}, "l4proxy": {0, 7}} {
		row := row{Peer: peer, Role: ours}
		for _, n := range failed {
			row.Samples = append(row.Samples, figures{"failed": n})
			row.addFailures(map[string]uint64{"none": uint64(n)})
			row.addFailures(map[string]uint64{"closed": uint64(n)})
		}
		if peer == "a" {
			row.Failures = nil
		}
		r.Rows = append(r.Rows, row)
	}
	slices.SortFunc(r.Rows, func(a, b row) int { return strings.Compare(a.Peer, b.Peer) })
	compare(&r)
	var b strings.Builder
	r.markdown(&b, 0.4)
	want := `
## made-up

About it.

| peer | failed |
|---|---|
| a | 0 (0–0) |
| l4proxy | 4 (0–7) |

How clients failed or were cut off, over all rounds:

- l4proxy: 7 times closed; 7 times none
`
	if got := b.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// stalled returns n samples from 100 on, the last of a round in which the machine stalled.
func stalled(n int) []float64 {
	var samples []float64
	for i := range n - 1 {
		samples = append(samples, float64(100+i))
	}
	return append(samples, 900)
}

// One stalled round makes a figure of five rounds too noisy, but neither the figure
// nor the ratio of twelve. Counts are shown in any case.
func TestMoreRoundsGiveAFigure(t *testing.T) {
	for rounds, want := range map[int]string{
		5: `
| nginx | 50.0 (50.0–50.0) | 102.0 (100.0–900.0) |
| l4proxy | too noisy (100.0–900.0) | 102.0 (100.0–900.0) |
| l4proxy ÷ best rival | too noisy (2.00–18.00) | – |
`,
		12: `
| nginx | 50.0 (50.0–50.0) | 105.5 (100.0–900.0) |
| l4proxy | 105.5 (102.0–109.0) | 105.5 (100.0–900.0) |
| l4proxy ÷ best rival | 2.11 (2.04–2.18) | – |
`,
	} {
		r := result{
			scenario: scenario{metrics: []metric{{name: "p99 ms", digits: 1}, {name: "failed", digits: 1, uncompared: true, noisy: true}}},
			Rows:     []row{{Peer: "nginx", Role: rival}, {Peer: "l4proxy", Role: ours}},
		}
		for _, value := range stalled(rounds) {
			r.Rows[0].Samples = append(r.Rows[0].Samples, figures{"p99 ms": 50, "failed": value})
			r.Rows[1].Samples = append(r.Rows[1].Samples, figures{"p99 ms": value, "failed": value})
		}
		compare(&r)
		var b strings.Builder
		r.markdown(&b, 0.4)
		if got := b.String(); !strings.HasSuffix(got, want) {
			t.Errorf("%d rounds: got:%s\nwant:%s", rounds, got, want)
		}
	}
}

func TestReportSaysWhatItsIntervalsAre(t *testing.T) {
	want := `
- Figures are medians of interleaved rounds, each with its confidence interval of at least 93 %. With eight rounds or fewer, and always in outages, the interval is least–greatest; with fewer than five rounds it is less certain.
- Ratios are to the rival with the better median, round by round, then the median. Less is better, except for rates.
- "too noisy": the interval is wider than 0.25 of the median.
`
	if got := (report{NoiseLimit: 0.25}).markdown(); !strings.HasSuffix(got, want) {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// Earlier reports have ratios, whose intervals were whole ranges, and samples as
// a list of figures. The ratios are computed again.
func TestReportKeepsAnOlderReport(t *testing.T) {
	dir := t.TempDir()
	older := `{"machine": {"date": "2026-01-02"}, "results": [{"scenario": "request-1", "rows": [
		{"peer": "nginx", "role": "rival", "samples": [{"requests/s": 10}]},
		{"peer": "l4proxy epoll", "role": "ours", "samples": [{"requests/s": 20}],
			"ratios": {"requests/s": {"to": "nginx", "median": 2, "min": 2, "max": 2}}}]}]}`
	if err := os.WriteFile(filepath.Join(dir, "report.json"), []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	var r report
	if err := r.keep(dir); err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 1 || len(r.Results[0].Rows) != 2 {
		t.Fatalf("kept %+v, want a scenario of two peers", r.Results)
	}
	r.Results[0].Rounds, r.Results[0].Duration = 1, "2s"
	if got, want := r.markdown(), "\nRounds: 1 of 2s, on 2026-01-02.\n"; !strings.Contains(got, want) {
		t.Errorf("no %q in %s", want, got)
	}
	want := ratio{To: "nginx", summary: summary{Median: 2, Low: 2, High: 2}}
	if got := r.Results[0].Rows[1].Ratios["requests/s"]; got != want {
		t.Errorf("ratio %+v, want %+v", got, want)
	}
}

func TestReportFailsWithAPeer(t *testing.T) {
	var b strings.Builder
	r := report{NoiseLimit: 0.4, Missing: []string{"nginx: not found"}, Results: []result{twoRounds()}}
	err := r.write(t.TempDir(), &b)
	if want := "made-up: c failed"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if !strings.Contains(b.String(), "- left out: nginx: not found\n") {
		t.Errorf("the report does not name what is missing:\n%s", b.String())
	}
}

// A report that is measured in parts keeps the earlier ones, with their tables.
func TestReportKeepsOtherScenarios(t *testing.T) {
	dir := t.TempDir()
	part := func(name string, rate float64) report {
		s, ok := findScenario(name)
		if !ok {
			t.Fatalf("no scenario %s", name)
		}
		return report{NoiseLimit: 0.4, Peers: []peerVersion{{"nginx", name}}, Results: []result{{
			Scenario: name, scenario: s, Rows: []row{{Peer: "nginx", Role: rival, Samples: []figures{{"requests/s": rate}}}},
		}}}
	}
	for _, r := range []report{part("size-1", 7), part("request-1", 11), part("size-1", 13)} {
		if err := r.keep(dir); err != nil {
			t.Fatal(err)
		}
		if err := r.write(dir, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	first, second := strings.Index(string(text), "| nginx | 11 (11–11)"), strings.Index(string(text), "| nginx | 13 (13–13)")
	if first < 0 || second < first || strings.Contains(string(text), "| nginx | 7 ") {
		t.Errorf("request-1 with 11 and then size-1 with 13 are not there:\n%s", text)
	}
}

// In JSON, samples are a list for each name, with null for a missing figure.
func TestSamplesInJSON(t *testing.T) {
	s := samples{{"a": 1.5, "b": 2}, {"a": 3}}
	data, err := json.Marshal(s)
	if want := `{"a":[1.5,3],"b":[2,null]}`; err != nil || string(data) != want {
		t.Errorf("%s, %v, want %s", data, err, want)
	}
	for _, text := range []string{string(data), `[{"a": 1.5, "b": 2}, {"a": 3}]`} {
		var got samples
		if err := json.Unmarshal([]byte(text), &got); err != nil || !slices.EqualFunc(got, s, maps.Equal) {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	var broken samples
	if err := json.Unmarshal([]byte(`{"a": [1], "b": [1, 2]}`), &broken); err == nil {
		t.Errorf("lists of different lengths are read as %v", broken)
	}
}

func TestSignificant(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 123456789.5: 123456790, 0.123456789: 0.12345679, -12: -12} {
		if got := significant(v, 8); got != want {
			t.Errorf("significant(%v, 8) = %v, want %v", v, got, want)
		}
	}
}

// The tables and pictures in docs belong to the report.json beside them.
func TestPublishedReports(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors may round a coordinate of a picture differently")
	}
	for _, dir := range []string{"../docs/benchmarks", "../docs/benchmarks/namespaces"} {
		r, err := readReport(dir)
		if err != nil {
			t.Fatal(err)
		}
		again := t.TempDir()
		if err := r.write(again, io.Discard); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(again)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			want, errWant := os.ReadFile(filepath.Join(again, file.Name()))
			got, errGot := os.ReadFile(filepath.Join(dir, file.Name()))
			if err := errors.Join(errWant, errGot); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what -redraw writes (error %v)", dir, file.Name(), err)
			}
		}
	}
}
