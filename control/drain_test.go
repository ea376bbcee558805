package control

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"l4proxy/backend"
	"l4proxy/proxy"
)

const drainedPool = `
listeners:
  front: {bind: "127.0.0.1:1", pool: back, when_no_backend: unlisten}
  other: {bind: "127.0.0.1:2", pool: back}
pools:
  back:
    backends: [192.0.2.1:1, {address: "192.0.2.2:1", backup: true}]
    health: {}
    on_down: reset
    on_recovered: close
    spread: 7s
`

// set does what an operator demands of a backend.
func (w *world) set(address string, to backend.Admin, o DrainOptions) Drain {
	w.t.Helper()
	d, err := w.live.SetBackend("back", address, to, o)
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return d
}

// TestDrainBackend: a drained backend gets no clients, and its connections are left alone.
func TestDrainBackend(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		w.up("192.0.2.1:1", "192.0.2.2:1")
		w.logs()
		b := w.backend(0)
		b.Acquire()
		d := w.set("192.0.2.1:1", backend.AdminDrain, DrainOptions{})
		if d.Connections != 1 || d.Before != 1 || d.State != "drain" || d.Pool != "back" || d.Deadline != nil {
			t.Errorf("drain = %+v", d)
		}
		if picked := w.pick(); picked != w.backend(1) {
			t.Errorf("picked %v", picked)
		}
		if w.evicted() != nil || w.endings() != nil {
			t.Error("connections are ended")
		}
		w.logged(`level=INFO msg="backend drained" pool=back backend=192.0.2.1:1 connections=1 timeout=0`)
		w.apply(drainedPool)
		if b != w.backend(0) || b.Admin() != backend.AdminDrain {
			t.Error("it is in service again after a reload")
		}
		if all := w.live.Drains(); len(all) != 1 || all[0].Backend != "192.0.2.1:1" || all[0].Connections != 1 {
			t.Errorf("drains = %+v", all)
		}
		w.backend(1).Acquire()
		w.set("192.0.2.1:1", backend.AdminUp, DrainOptions{})
		if picked := w.pick(); picked != b {
			t.Errorf("picked %v", picked)
		}
		if all := w.live.Drains(); all != nil {
			t.Errorf("drains = %+v", all)
		}
		// The backup stood in for it, as if it had been down.
		if e := w.evicted(); len(e) != 1 || e[0].Backend != w.backend(1) || e[0].Reason != proxy.ReasonBackendRecovered {
			t.Errorf("evictions = %+v", e)
		}
		w.logged(`level=INFO msg="backend in service again" pool=back backend=192.0.2.1:1 connections=1 previous=drain`)
	})
}

// TestDrainBackendWithTimeout: its connections are ended as they become quiet, until it is up
// again.
func TestDrainBackendWithTimeout(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		for _, to := range []backend.Admin{backend.AdminDrain, backend.AdminDown} {
			w.backend(0).Acquire()
			d := w.set("192.0.2.1:1", to, DrainOptions{Timeout: time.Minute, Spread: 20 * time.Second})
			if d.Deadline == nil || time.Until(*d.Deadline) != time.Minute {
				t.Errorf("deadline = %v", d.Deadline)
			}
			g := w.endings()
			if len(g) != 1 || g[0].Backend != w.backend(0) || g[0].Timeout != time.Minute || g[0].Spread != 20*time.Second {
				t.Fatalf("%s: endings = %+v", to, g)
			}
			if w.evicted() != nil {
				t.Error("on_down is applied too")
			}
			g[0].Closed.Add(3)
			if all := w.live.Drains(); len(all) != 1 || all[0].Closed != 3 {
				t.Errorf("drains = %+v", all)
			}
			if g[0].Cancelled() {
				t.Error("cancelled at once")
			}
			w.set("192.0.2.1:1", backend.AdminUp, DrainOptions{})
			if !g[0].Cancelled() {
				t.Error("connections are still ended after it is up again")
			}
			w.evicted()
		}
	})
}

// TestSetDown: a backend that is set down is treated like one that the checks find down.
func TestSetDown(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		w.backend(0).Acquire()
		w.set("192.0.2.1:1", backend.AdminDown, DrainOptions{})
		e := w.evicted()
		if len(e) != 1 || e[0].Backend != w.backend(0) || e[0].Reason != proxy.ReasonBackendDown || !e[0].Reset {
			t.Fatalf("evictions = %+v", e)
		}
		w.logged(`level=INFO msg="backend set down" pool=back backend=192.0.2.1:1`)
		w.up("192.0.2.1:1")
		if picked := w.pick(); picked != w.backend(1) {
			t.Errorf("picked %v because its checks pass", picked)
		}
	})
}

// TestAllDrainedUnlistens: if all backends are drained, the pool cannot serve.
func TestAllDrainedUnlistens(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		w.set("192.0.2.1:1", backend.AdminDrain, DrainOptions{})
		w.set("192.0.2.2:1", backend.AdminDown, DrainOptions{})
		if got, want := w.listens(), []listening{{"front", false}}; !slices.Equal(got, want) {
			t.Errorf("SetListening: %v, want %v", got, want)
		}
		w.set("192.0.2.2:1", backend.AdminUp, DrainOptions{})
		if got, want := w.listens(), []listening{{"front", true}}; !slices.Equal(got, want) {
			t.Errorf("SetListening: %v, want %v", got, want)
		}
	})
}

// TestDrainEndsWithItsBackend: a backend that is removed from the configuration is in service when
// it comes back, but not if it comes back soon, as by a rollback.
func TestDrainEndsWithItsBackend(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		const without = `
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {back: {backends: ["192.0.2.1:1"]}}
`
		const withoutPool = `
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {other: {backends: ["192.0.2.1:1"]}}
`
		w.set("192.0.2.2:1", backend.AdminDrain, DrainOptions{})
		for _, removed := range []string{without, withoutPool} {
			w.apply(removed)
			if all := w.live.Drains(); all != nil {
				t.Errorf("drains = %+v", all)
			}
			w.pass(rollbackTime - time.Second)
			w.apply(removed)
			w.apply(drainedPool)
			if got := w.backend(1).Admin(); got != backend.AdminDrain || len(w.live.Drains()) != 1 {
				t.Errorf("after a rollback it is %s", got)
			}
		}
		w.apply(without)
		w.pass(rollbackTime)
		w.apply(drainedPool)
		if got := w.backend(1).Admin(); got != backend.AdminUp || w.live.Drains() != nil {
			t.Errorf("it is %s", got)
		}
		if n := len(w.live.drains.backends); n != 0 {
			t.Errorf("drains of %d pools are remembered", n)
		}
	})
}

// TestDrainByResolvedAddress: one address of a host name is drained, and all of them are.
func TestDrainByResolvedAddress(t *testing.T) {
	const name = "db.example.com:1"
	key := func(address string) BackendKey {
		return BackendKey{Address: name, Endpoint: Endpoint{TCP: netip.MustParseAddrPort(address)}}
	}
	one, two := key("192.0.2.1:1"), key("192.0.2.2:1")
	d := newDrains()
	check := func(what string, wantOne, wantTwo backend.Admin) {
		t.Helper()
		if got := d.of("back", one); got != wantOne {
			t.Errorf("%s: one is %s, want %s", what, got, wantOne)
		}
		if got := d.of("back", two); got != wantTwo {
			t.Errorf("%s: two is %s, want %s", what, got, wantTwo)
		}
	}
	up, drained, down := backend.AdminUp, backend.AdminDrain, backend.AdminDown
	d.set("back", "192.0.2.1:1", []BackendKey{one}, newDrain(drained, 0, DrainOptions{}))
	check("one drained", drained, up)
	d.set("back", name, []BackendKey{one, two}, newDrain(down, 0, DrainOptions{}))
	check("all down", down, down)
	d.set("back", "192.0.2.2:1", []BackendKey{two}, newDrain(drained, 0, DrainOptions{}))
	check("all down, but two drained", down, drained)
	d.set("back", name, []BackendKey{one, two}, newDrain(up, 0, DrainOptions{}))
	check("all up", up, up)
}

// TestDrainUnknown: what does not exist, or is not unique, is an error that says so.
func TestDrainUnknown(t *testing.T) {
	inWorld(t, `
listeners: {a: {bind: "127.0.0.1:1", pool: one}, b: {bind: "127.0.0.1:2", pool: two}}
pools: {one: {backends: ["192.0.2.1:1", "192.0.2.2:1"]}, two: {backends: ["192.0.2.1:1"]}}
`, func(t *testing.T, w *world) {
		set := func(pool, address string) error {
			_, err := w.live.SetBackend(pool, address, backend.AdminDrain, DrainOptions{})
			return err
		}
		_, listener := w.live.DrainListener("c", DrainOptions{})
		for want, err := range map[string]error{
			"unknown listener c":                          listener,
			"unknown pool three":                          set("three", "192.0.2.1:1"),
			"unknown backend 192.0.2.3:1":                 set("", "192.0.2.3:1"),
			"unknown backend 192.0.2.2:1 in the pool two": set("two", "192.0.2.2:1"),
		} {
			if err == nil || err.Error() != want || !errors.Is(err, ErrUnknown) {
				t.Errorf("error = %v, want %s", err, want)
			}
		}
		const want = "the pools one, two all have a backend 192.0.2.1:1: name the pool, too"
		if err := set("", "192.0.2.1:1"); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
		if err := set("", "192.0.2.2:1"); err != nil {
			t.Errorf("a backend of one pool only: %v", err)
		}
		if err := w.live.UndrainListener("a"); err == nil {
			t.Error("a listener that is not drained can be undrained")
		}
	})
}

// TestDrainListener: the drain outlives a reload, and ends with its listener.
func TestDrainListener(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		if _, err := w.live.DrainListener("other", DrainOptions{Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if got, want := w.drains(), []listening{{"other", true}}; !slices.Equal(got, want) {
			t.Errorf("DrainListener: %v, want %v", got, want)
		}
		g := w.endings()
		if len(g) != 1 || g[0].Listener != "other" || g[0].Timeout != time.Minute || g[0].Spread != time.Minute {
			t.Fatalf("endings = %+v", g)
		}
		w.logged(`level=INFO msg="listener drained" listener=other connections=0 timeout=60`)
		w.apply(drainedPool)
		w.apply(drainedPool)
		if got := w.drains(); got != nil || g[0].Cancelled() {
			t.Errorf("a reload has changed it: %v", got)
		}
		if all := w.live.Drains(); len(all) != 1 || all[0].Listener != "other" || all[0].Deadline == nil {
			t.Errorf("drains = %+v", all)
		}
		if err := w.live.UndrainListener("other"); err != nil {
			t.Fatal(err)
		}
		if got, want := w.drains(), []listening{{"other", false}}; !slices.Equal(got, want) || !g[0].Cancelled() {
			t.Errorf("DrainListener: %v, want %v", got, want)
		}
		if _, err := w.live.DrainListener("other", DrainOptions{}); err != nil {
			t.Fatal(err)
		}
		if w.endings() != nil {
			t.Error("connections are ended without a timeout")
		}
		w.drains()
		w.apply(`
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {back: {backends: ["192.0.2.1:1"]}}
`)
		if got, want := w.drains(), []listening{{"other", false}}; !slices.Equal(got, want) || w.live.Drains() != nil {
			t.Errorf("after it was removed: %v, want %v", got, want)
		}
	})
}

// TestDrainEndsWithItsListener: a listener that is removed is open when it comes back, but not if
// it comes back soon, as by a rollback.
func TestDrainEndsWithItsListener(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		const without = `
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {back: {backends: ["192.0.2.1:1"]}}
`
		if _, err := w.live.DrainListener("other", DrainOptions{Timeout: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		g := w.endings()
		w.apply(without)
		w.drains()
		if err := w.live.UndrainListener("other"); err == nil || !g[0].Cancelled() {
			t.Error("it is still drained without being there")
		}
		w.pass(rollbackTime - time.Second)
		w.apply(drainedPool)
		if got, want := w.drains(), []listening{{"other", true}}; !slices.Equal(got, want) {
			t.Errorf("after it is back: %v, want %v", got, want)
		}
		if all := w.live.Drains(); len(all) != 1 || all[0].Listener != "other" {
			t.Errorf("drains = %+v", all)
		}
		if g := w.endings(); len(g) != 1 || g[0].Listener != "other" || g[0].Timeout != 5*time.Minute+time.Second || g[0].Cancelled() {
			t.Errorf("endings = %+v", g)
		}
		w.apply(without)
		w.pass(rollbackTime)
		w.drains()
		w.apply(drainedPool)
		if w.drains() != nil || w.live.Drains() != nil || len(w.live.drains.listeners) != 0 {
			t.Error("it is still drained")
		}
	})
}

// TestDrainDeadlineAfterRollback: the deadline of a drain holds again for a backend that was
// removed for a while.
func TestDrainDeadlineAfterRollback(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		b := w.backend(0)
		b.Acquire()
		w.set("192.0.2.1:1", backend.AdminDrain, DrainOptions{Timeout: time.Minute})
		w.endings()
		w.apply(strings.Replace(drainedPool, "192.0.2.1:1, ", "", 1))
		w.pass(20 * time.Second)
		w.apply(drainedPool)
		g := w.endings()
		if len(g) != 1 || g[0].Backend != b || g[0].Timeout != 40*time.Second || g[0].Cancelled() {
			t.Errorf("endings = %+v", g)
		}
		w.apply(drainedPool)
		if g := w.endings(); g != nil {
			t.Errorf("endings after another reload = %+v", g)
		}
		w.set("192.0.2.1:1", backend.AdminUp, DrainOptions{})
		if len(g) == 1 && !g[0].Cancelled() {
			t.Error("connections are still ended after it is up again")
		}
	})
}

// TestRestoreDrains: another process continues the drains, with the time that is left.
func TestRestoreDrains(t *testing.T) {
	inWorld(t, drainedPool, func(t *testing.T, w *world) {
		if _, err := w.live.DrainListener("other", DrainOptions{Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		w.set("192.0.2.1:1", backend.AdminDown, DrainOptions{})
		w.set("192.0.2.2:1", backend.AdminDrain, DrainOptions{Timeout: time.Hour})
		before := w.live.Drains()
		w.pass(15 * time.Second)

		next := &world{t: t}
		next.live = NewLive(slog.New(slog.DiscardHandler))
		next.apply(drainedPool)
		next.live.RestoreDrains(append(before, Drain{Listener: "gone", State: "drain"}, Drain{Pool: "back", Backend: "gone", State: "down"},
			Drain{Listener: "front", State: "nonsense"}))
		if got := next.live.Drains(); !slices.EqualFunc(got, before, func(a, b Drain) bool {
			return a.order() == b.order() && a.State == b.State && a.Since.Equal(b.Since)
		}) {
			t.Errorf("drains = %+v, want %+v", got, before)
		}
		if next.backend(0).Admin() != backend.AdminDown || next.backend(1).Admin() != backend.AdminDrain {
			t.Error("the backends are in service")
		}
		next.live.mu.Lock()
		next.live.resumeDrains(next)
		next.live.mu.Unlock()
		if got, want := next.drains(), []listening{{"other", true}}; !slices.Equal(got, want) {
			t.Errorf("DrainListener: %v, want %v", got, want)
		}
		left := make(map[time.Duration]bool)
		for _, g := range next.endings() {
			left[g.Timeout] = true
		}
		if len(left) != 2 || !left[45*time.Second] || !left[time.Hour-15*time.Second] {
			t.Errorf("the time that is left: %v", left)
		}
	})
}
