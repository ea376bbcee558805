package control

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/proxy"
)

const savedPools = `
listeners: {a: {bind: "127.0.0.1:1", pool: a}, b: {bind: "127.0.0.1:2", pool: b}}
pools:
  a: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}}
  b: {backends: ["192.0.2.1:1", "unix:/run/b"]}
`

// TestLiveStateMovesToAnotherProcess exports the state of a Live and imports it into another one,
// whose configuration differs a little.
func TestLiveStateMovesToAnotherProcess(t *testing.T) {
	inWorld(t, savedPools, func(t *testing.T, w *world) {
		w.down("192.0.2.2:1")
		w.pass(10 * time.Second)
		b := w.state.Listeners[1].Pool.Balancer.Members()
		w.state.Listeners[1].Pool.Balancer.Failed(b[1].Backend, w.live.clock(), w.live.clock())
		text, err := json.Marshal(w.live.Export())
		if err != nil {
			t.Fatal(err)
		}

		next := NewLive(slog.New(slog.DiscardHandler))
		next.clock = w.live.clock
		var state *proxy.State
		p := plan(t, parse(t, `
listeners: {a: {bind: "127.0.0.1:1", pool: a}, b: {bind: "127.0.0.1:2", pool: b}, c: {bind: "127.0.0.1:3", pool: c}}
pools:
  a: {backends: ["192.0.2.3:1", "192.0.2.2:1", "192.0.2.1:1"], health: {}}
  b: {backends: ["unix:/run/b"]}
  c: {backends: ["192.0.2.2:1"]}
`), noNames)
		if err := next.Apply(p, func(s *proxy.State) error { state = s; return nil }); err != nil {
			t.Fatal(err)
		}
		var saved SavedPools
		if err := json.Unmarshal(text, &saved); err != nil {
			t.Fatal(err)
		}
		saved.Pools = append(saved.Pools, SavedPool{Name: "gone", Backends: []SavedBackend{{Address: "192.0.2.9:1"}}})
		next.Import(saved)
		for i, want := range []backend.Health{backend.HealthUnknown, backend.HealthDown, backend.HealthUp} {
			if m := state.Listeners[0].Pool.Balancer.Members()[i]; m.Health() != want {
				t.Errorf("%s is %v, want %v", m.Address, m.Health(), want)
			}
		}
		if m := state.Listeners[1].Pool.Balancer.Members()[0]; !m.InBackoff() || m.BackoffUntil() != b[1].BackoffUntil() {
			t.Errorf("%s is in backoff until %d, want %d", m.Address, m.BackoffUntil(), b[1].BackoffUntil())
		}
		if m := state.Listeners[2].Pool.Balancer.Members()[0]; m.Health() != backend.HealthUnknown {
			t.Errorf("%s of another pool is %v", m.Address, m.Health())
		}
	})
}
