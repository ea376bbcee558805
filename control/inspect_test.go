package control

import (
	"slices"
	"testing"
	"time"

	"l4proxy/backend"
)

// Pools shows what the configuration says, and what has happened since.
func TestPoolsAreDescribed(t *testing.T) {
	inWorld(t, `
listeners:
  web: {bind: "127.0.0.1:80", pool: web, when_no_backend: unlisten}
  open: {bind: "127.0.0.1:81", pool: open}
pools:
  web:
    policy: round_robin
    health: {type: tcp}
    backends: [{address: "10.0.0.1:80", weight: 3, max_connections: 7}, {address: "10.0.0.2:80", backup: true}]
  open: {backends: ["10.0.0.3:80"]}
`, func(t *testing.T, w *world) {
		w.pass(time.Second)
		pools := w.live.Pools()
		if len(pools) != 2 || pools[0].Name != "open" || pools[1].Name != "web" {
			t.Fatalf("pools %+v", pools)
		}
		open, web := pools[0], pools[1]
		if !open.CanServe || !web.CanServe || web.Policy != "round_robin" || closed(w, "web") || closed(w, "open") {
			t.Errorf("pools %+v", pools)
		}
		first := web.Backends[0]
		if first.Key.Address != "10.0.0.1:80" || first.Weight != 3 || first.MaxConnections != 7 || first.Health() != backend.HealthUp ||
			first.Since.IsZero() || first.Err != nil || first.RetryIn(w.live.Now()) != 0 {
			t.Errorf("backend %+v", first)
		}
		if b := web.Backends[1]; b.Priority == 0 {
			t.Errorf("backup %+v", b)
		}
		if b := open.Backends[0]; b.Health() != backend.HealthUnknown || !b.Since.IsZero() {
			t.Errorf("unchecked backend %+v", b)
		}

		changed := time.Now()
		w.down("10.0.0.1:80", "10.0.0.2:80")
		web = w.live.Pools()[1]
		if web.CanServe || !closed(w, "web") || closed(w, "open") {
			t.Errorf("with all backends down: %+v", web)
		}
		if b := web.Backends[0]; b.Health() != backend.HealthDown || !b.Since.After(changed) || b.Err == nil || b.Err.Error() != "it hangs" {
			t.Errorf("backend that is down: %+v", b)
		}

		b := w.live.Pools()[0].Backends[0]
		b.Fail(w.live.Now(), w.live.Now())
		if got := w.live.Pools()[0].Backends[0]; got.RetryIn(w.live.Now()) != backend.MinBackoff {
			t.Errorf("backend in backoff: %+v for %v", got, got.RetryIn(w.live.Now()))
		}
		if since := w.live.Clock(b.BackoffSince()); !since.Equal(time.Now()) {
			t.Errorf("in backoff since %v, want now", since)
		}
		w.pass(time.Minute)
		if got := b.RetryIn(w.live.Now()); got != 0 {
			t.Errorf("after the backoff: %v", got)
		}

		if _, err := w.live.SetBackend("open", "10.0.0.3:80", backend.AdminDrain, DrainOptions{}); err != nil {
			t.Fatal(err)
		}
		drained := time.Now()
		w.pass(time.Minute)
		pools = w.live.Pools()
		if got := pools[0].Backends[0].Drained; !got.Equal(drained) {
			t.Errorf("drained since %v, want %v", got, drained)
		}
		if got := pools[1].Backends[0].Drained; !got.IsZero() {
			t.Errorf("another backend is drained since %v", got)
		}

		w.apply("listeners: {web: {bind: \"127.0.0.1:80\"}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}")
		pools = w.live.Pools()
		if len(pools) != 1 || len(pools[0].Backends) != 1 || !pools[0].Backends[0].Since.IsZero() || closed(w, "web") {
			t.Errorf("without checks: %+v", pools)
		}
	})
}

// closed reports whether a listener is closed.
func closed(w *world, name string) bool {
	all := w.live.Listeners()
	i := slices.IndexFunc(all, func(l ListenerInfo) bool { return l.Name == name })
	return all[i].Closed
}
