package main

import (
	"io"
	"slices"
	"testing"

	"l4proxy/internal/testenv"
)

func testOptions(t *testing.T) options {
	t.Helper()
	o, err := parseOptions([]string{"-duration", "1s", "-rounds", "1", "-workers", "1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-scenario", "all", "-engine", "epoll"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := scenarioNames(); !slices.Equal(o.scenarios, want) {
		t.Errorf("-scenario all is %q, want %q", o.scenarios, want)
	}
	if !slices.Equal(o.engines, []string{"epoll"}) {
		t.Errorf("-engine epoll is %q", o.engines)
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-workers", "0"}, {"-duration", "1ms"}, {"stray"}, {"-nonsense"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// One real measurement with a short load, and a peer that does not start.
func TestMeasureRounds(t *testing.T) {
	for _, tool := range []string{"nginx", "haproxy", "wrk"} {
		testenv.NeedTool(t, tool)
	}
	peers, err := findHAProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	broken := peer{name: "broken", role: rival, command: func(setup) ([]string, error) {
		return []string{"false"}, nil
	}}
	s := http(4)
	r, err := measureRounds(t.Context(), testLab(t), s, append(peers, broken), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(r.Rows))
	}
	if r.Rows[0].Failed != "" {
		t.Fatalf("haproxy failed: %s", r.Rows[0].Failed)
	}
	for _, m := range s.metrics {
		if _, ok := r.Rows[0].Samples[0][m.name]; !ok {
			t.Errorf("no figure for %s", m.name)
		}
	}
	if rate := r.Rows[0].Samples[0]["requests/s"]; rate <= 0 {
		t.Errorf("%v requests/s", rate)
	}
	if want := "broken ended while starting: no output"; r.Rows[1].Failed != want {
		t.Errorf("the broken peer failed with %q, want %q", r.Rows[1].Failed, want)
	}
}
