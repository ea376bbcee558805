package main

import (
	"slices"
	"strings"
	"testing"
)

func TestBesideItself(t *testing.T) {
	all := besideItself([]peer{{name: "haproxy", role: rival}, {name: "l4proxy a", role: ours}, {name: "l4proxy b", role: ours}})
	var got []string
	for _, p := range all {
		got = append(got, p.name+" / "+p.beside)
		if p.observed != (p.beside != "") {
			t.Errorf("%s: observed %v", p.name, p.observed)
		}
	}
	want := []string{"l4proxy a / ", "l4proxy a, observed / l4proxy a", "l4proxy b / ", "l4proxy b, observed / l4proxy b"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A real l4proxy has all that an observer asks for.
func TestObservedPeer(t *testing.T) {
	l := testLab(t)
	l.engines, l.l4proxy = []string{"epoll"}, build(t, "..", "./cmd/l4proxy")
	peers, err := findL4proxy(t.Context(), l.options)
	if err != nil {
		t.Fatal(err)
	}
	s := observedRequests(16)
	s.atLeast = 0
	r, err := measureRounds(t.Context(), l, s, peers, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.Failed != "" {
			t.Fatalf("%s failed: %s", row.Peer, row.Failed)
		}
		f := row.Samples[0]
		if observed := row.Beside != ""; f["requests/s"] <= 0 || (f["scrapes"] > 0) != observed || (f["scrape KB"] > 0) != observed {
			t.Errorf("%s: %v", row.Peer, f)
		}
	}
	if ratio := r.Rows[1].Ratios["requests/s"]; ratio.To != "l4proxy epoll" || ratio.Median <= 0 {
		t.Errorf("ratio %+v", ratio)
	}
}

// Each observed peer is compared with itself alone, round by round, and not with the other engine.
func TestCompareBesideItself(t *testing.T) {
	samples := func(rates ...float64) (all samples) {
		for _, rate := range rates {
			all = append(all, figures{"rate": rate})
		}
		return all
	}
	r := result{
		Scenario: "made-up",
		scenario: scenario{about: "About it.", metrics: []metric{{name: "rate", higher: true}}},
		Rows: []row{
			{Peer: "a", Role: ours, Samples: samples(1000, 2000, 1000)},
			{Peer: "a, observed", Role: ours, Beside: "a", Samples: samples(990, 1960, 1000)},
			{Peer: "b", Role: ours, Samples: samples(5000, 5000, 5000)},
			{Peer: "c", Role: ours, Failed: "no luck"},
			{Peer: "c, observed", Role: ours, Beside: "c", Samples: samples(1, 1, 1)},
		},
	}
	compare(&r)
	var b strings.Builder
	r.markdown(&b, 2)
	want := `
## made-up

About it.

| peer | rate |
|---|---|
| a | 1000 (1000–2000) |
| a, observed | 1000 (990–1960) |
| a, observed ÷ a | 0.990 (0.980–1.000) |
| b | 5000 (5000–5000) |
| c | failed: no luck |
| c, observed | 1 (1–1) |
`
	if got := b.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}
