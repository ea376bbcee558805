package control

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"l4proxy/proxy"
)

const diffBase = `
listeners:
  web: {bind: "127.0.0.1:1", pool: web, max_connections: 100, acl: [{deny: 10.0.0.1}]}
  old: {bind: "127.0.0.1:2", pool: gone}
pools:
  web: {backends: ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.9:1"]}
  gone: {on_removed: reset, spread: 0s, backends: ["192.0.2.1:1", "192.0.2.2:1"]}
`

// Every change says in words what happens to live connections. Each backend has two connections.
func TestDifferencesInWords(t *testing.T) {
	w := &world{t: t}
	w.live = NewLive(slog.New(slog.DiscardHandler))
	cfg := parse(t, diffBase)
	running := &configured{cfg: cfg, plan: plan(t, cfg, noNames)}
	if err := w.live.Apply(running.plan, func(*proxy.State) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, pool := range w.live.pools {
		for _, b := range pool.backends {
			b.Acquire()
			b.Acquire()
		}
	}
	for _, test := range []struct {
		name string
		edit []string
		want []string
	}{
		{"nothing", nil, nil},
		{"a backend removed", []string{`"192.0.2.2:1", "192.0.2.9`, `"192.0.2.9`},
			[]string{"pool web: backend 192.0.2.2:1 removed: 2 connections, drained within 30s, the rest closed within 5s after that (on_removed: drain)"}},
		{"a backend removed, and its connections kept", []string{`, "192.0.2.9:1"]`, `], on_removed: keep`}, []string{
			"pool web: on_removed drain -> keep",
			"pool web: backend 192.0.2.9:1 removed: 2 connections, left to end by themselves (on_removed: keep)",
		}},
		{"a backend that is marked down", []string{`"192.0.2.2:1", "192.0.2.9`, `{address: "192.0.2.2:1", down: true}, "192.0.2.9`, `web: {backends`, `web: {on_removed: close, backends`}, []string{
			"pool web: on_removed drain -> close",
			"pool web: backend 192.0.2.2:1: down false -> true: 2 connections, closed within 5s (on_removed: close)",
		}},
		{"a weight", []string{`"192.0.2.2:1", "192.0.2.9`, `{address: "192.0.2.2:1", weight: 3}, "192.0.2.9`},
			[]string{"pool web: backend 192.0.2.2:1: weight 1 -> 3: 2 connections stay open"}},
		{"a backend added", []string{`["192.0.2.1:1", "192.0.2.2:1", "192.0.2.9`, `["192.0.2.1:1", "192.0.2.2:1", {address: "192.0.2.3:1", backup: true}, "192.0.2.9`},
			[]string{"pool web: backend 192.0.2.3:1 added: {backup: true}"}},
		{"a pool and a listener removed", []string{"  old: {bind: \"127.0.0.1:2\", pool: gone}\n", "",
			"  gone: {on_removed: reset, spread: 0s, backends: [\"192.0.2.1:1\", \"192.0.2.2:1\"]}\n", ""}, []string{
			"listener old removed",
			"pool gone removed: 4 connections, reset at once (on_removed: reset)",
		}},
		{"a rule", []string{"10.0.0.1}", "[10.0.0.1, 10.0.0.2], with: reset}"}, []string{
			"listener web: rule deny[0]: clients (none) -> 10.0.0.2", "listener web: rule deny[0]: with message -> reset"}},
		{"the process", []string{"\nlisteners", "\nworkers: 3\nmax_connections: 100\nlisteners"}, []string{
			"process: workers auto -> 3: takes effect with a restart or an upgrade", "process: max_connections auto -> 100"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := diffBase
			for i := 0; i+1 < len(test.edit); i += 2 {
				if !strings.Contains(text, test.edit[i]) {
					t.Fatalf("no %q to edit", test.edit[i])
				}
				text = strings.Replace(text, test.edit[i], test.edit[i+1], 1)
			}
			next := parse(t, text)
			changes := compare(w.live, running, &configured{cfg: next, plan: plan(t, next, noNames)})
			if diff := cmp.Diff(test.want, inWords(changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			// A client of the API can print the same words.
			data, err := json.Marshal(changes)
			var decoded []Change
			if err != nil || json.Unmarshal(data, &decoded) != nil || cmp.Diff(changes, decoded) != "" {
				t.Errorf("as JSON: %s", data)
			}
		})
	}
}

func TestListenerEffects(t *testing.T) {
	for _, test := range []struct {
		change Change
		want   string
	}{
		{Change{Action: "removed", Connections: 340}, "340 connections stay open until they end"},
		{Change{Action: "removed"}, ""},
		{Change{Key: "timeouts.idle", Connections: 1}, "1 connection keeps the old value"},
		{Change{Key: "timeouts.idle", Connections: 2}, "2 connections keep the old value"},
		{Change{Key: "bind", Connections: 1}, "1 connection stays open"},
		{Change{Key: "bandwidth.total.in", Connections: 1}, "applies to 1 connection at once"},
		{Change{Key: "per_client.bandwidth", Connections: 2}, "applies to 2 connections at once"},
		{Change{Key: "max_connections", New: "10", Connections: 12}, "12 connections stay open; no new ones until fewer than 10 are left"},
		{Change{Key: "max_connections", New: "20", Connections: 12}, ""},
	} {
		if got := listenerEffect(test.change); got != test.want {
			t.Errorf("%+v: %q, want %q", test.change, got, test.want)
		}
	}
}

func TestSummaryIsShort(t *testing.T) {
	if got := summary(nil); got != "no changes" {
		t.Errorf("got %q", got)
	}
	changes := make([]Change, 100)
	for i := range changes {
		changes[i] = Change{Part: "pool", Name: "p", Action: "added"}
	}
	if got := summary(changes); !strings.HasSuffix(got, "pool p added; 92 more") {
		t.Errorf("got %q", got)
	}
}
