package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/proxy"
)

const watchedPool = `
listeners: {front: {bind: "127.0.0.1:1", pool: back, when_no_backend: unlisten}}
pools:
  back:
    backends:
      - 192.0.2.1:1
      - {address: "192.0.2.2:1", priority: 1}
      - {address: "192.0.2.3:1", backup: true}
    health: {}
    on_down: reset
    on_recovered: drain
    spread: 7s
`

// TestDownAndUp has a backend go down and come back. Its connections end at once. Those of the less
// preferred backend that stood in for it end later, and those of the preferred one do not.
func TestDownAndUp(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		for i := range 3 {
			w.backend(i).Acquire() // a connection
		}
		w.down("192.0.2.2:1")
		evictions := w.evicted()
		if len(evictions) != 1 {
			t.Fatalf("%d evictions, want 1", len(evictions))
		}
		e := evictions[0]
		if e.Backend != w.backend(1) || e.Reason != proxy.ReasonBackendDown || !e.Reset || e.After != 0 || e.Over != 7*time.Second {
			t.Errorf("eviction = %+v", e)
		}
		if w.backend(1).Health() != backend.HealthDown {
			t.Error("the balancer does not know that the backend is down")
		}
		w.up("192.0.2.2:1")
		if evictions = w.evicted(); len(evictions) != 1 {
			t.Fatalf("%d evictions, want 1", len(evictions))
		}
		e = evictions[0]
		if e.Backend != w.backend(2) || e.Reason != proxy.ReasonBackendRecovered || e.Reset || e.After != 30*time.Second {
			t.Errorf("eviction = %+v", e)
		}
		if e.Unless() {
			t.Error("called off although the backend is up")
		}
		w.logged(
			`level=WARN msg="backend down" pool=back backend=192.0.2.2:1 previous=up checks=3 error="it hangs"`,
			`level=INFO msg="backend up" pool=back backend=192.0.2.2:1 previous=down checks=`,
			`msg="closing connections of backend" pool=back backend=192.0.2.2:1 connections=1 reason=backend_down action=reset after=0 spread=7`,
		)
		w.down("192.0.2.2:1")
		if !e.Unless() {
			t.Error("not called off although the backend is down again")
		}
	})
}

// TestFirstResultIsNoRecovery holds that no connection ends because a backend was checked for the
// first time.
func TestFirstResultIsNoRecovery(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		for i := range 3 {
			w.backend(i).Acquire()
		}
		w.pass(10 * time.Second)
		if n := strings.Count(w.logs(), `msg="backend up"`); n != 3 {
			t.Errorf("%d backends are up, want 3", n)
		}
		if e := w.evicted(); len(e) != 0 {
			t.Errorf("evictions = %+v", e)
		}
	})
}

// TestListenerFollowsPool has all backends of a pool go down and two come back.
func TestListenerFollowsPool(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		w.down("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
		if got := w.listens(); !slices.Equal(got, []listening{{"front", false}}) {
			t.Errorf("listening = %v", got)
		}
		w.up("192.0.2.3:1", "192.0.2.1:1")
		if got := w.listens(); !slices.Equal(got, []listening{{"front", true}}) {
			t.Errorf("listening = %v", got)
		}
		log := w.logged(
			`level=WARN msg="listener closed: no backend of its pool can serve" pool=back listener=front`,
			`level=INFO msg="pool up again" pool=back`,
			`level=INFO msg="listener reopened: its pool can serve again" pool=back listener=front`,
		)
		if n := strings.Count(log, `level=ERROR msg="pool down: no usable backend" pool=back`); n != 1 {
			t.Errorf("%d lines say that the pool is down:\n%s", n, log)
		}
	})
}

// TestPanicMode has more backends go down than panic_threshold allows.
func TestPanicMode(t *testing.T) {
	inWorld(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}, panic_threshold: 50%}}
`, func(t *testing.T, w *world) {
		w.down("192.0.2.1:1")
		w.logged(`level=ERROR msg="panic mode on: too few usable backends, ignoring health" pool=back panic_threshold=50`)
		w.up("192.0.2.1:1")
		w.logged(`level=INFO msg="panic mode off" pool=back`)
	})
}

const ejectingPool = `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], outlier: {failures: 1, eject: 1s, max_ejected: 50%}}}
`

// TestEventsAreLogged has a balancer find out everything that it can.
func TestEventsAreLogged(t *testing.T) {
	inWorld(t, strings.Replace(ejectingPool, "failures: 1", "failures: 5", 1), func(t *testing.T, w *world) {
		b, now := w.backend(0), w.live.clock()
		w.pool().Balancer.Failed(b, now, now)
		w.pass(10 * time.Millisecond)
		w.pool().Balancer.OK(b, w.live.clock())
		for range 5 {
			w.pass(time.Millisecond)
			w.silent(b)
		}
		w.pass(2 * time.Second)
		w.logged(
			`level=WARN msg="backend unreachable" pool=back backend=192.0.2.1:1 retry_in=1`,
			`level=INFO msg="backend reachable again" pool=back backend=192.0.2.1:1 failures=1`,
			`level=WARN msg="backend ejected" pool=back backend=192.0.2.1:1 failures=`,
			`eject=1`,
			`level=INFO msg="backend ejection ended" pool=back backend=192.0.2.1:1`,
		)
	})
}

// TestTooManyEvents has a balancer report more than a Watch keeps while it is busy.
func TestTooManyEvents(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		w.backend(0).Acquire()
		w.hold = make(chan struct{})
		w.down("192.0.2.1:1") // and the Watch waits for the data plane
		for range maxEvents + 7 {
			w.live.pools["back"].watch.observe(balancer.Event{Kind: balancer.Recovered, Backend: w.backend(0)})
		}
		close(w.hold)
		w.pass(0)
		w.logged(`level=WARN msg="backend events dropped: too many at once" pool=back count=7`)
	})
}

// TestTicksEnd holds that a balancer gets the time only while it waits for it: an idle proxy does
// nothing.
func TestTicksEnd(t *testing.T) {
	inWorld(t, ejectingPool, func(t *testing.T, w *world) {
		idle := func() {
			t.Helper()
			w.pass(time.Second)
			before := w.clockReads.Load()
			w.pass(time.Minute)
			if n := w.clockReads.Load() - before; n != 0 {
				t.Errorf("%d ticks although the balancer waits for nothing", n)
			}
		}
		idle()
		w.silent(w.backend(0))
		if !w.backend(0).Ejected() {
			t.Fatal("no ejection")
		}
		w.pass(tickEvery)
		if w.backend(0).Ejected() {
			t.Error("the ejection does not end")
		}
		idle()
	})
}

// TestTicksDespiteEvents has events come faster than ticks: the time passes for the balancer all
// the same.
func TestTicksDespiteEvents(t *testing.T) {
	inWorld(t, ejectingPool, func(t *testing.T, w *world) {
		w.silent(w.backend(0))
		for range 100 {
			w.pass(tickEvery / 5)
			w.live.pools["back"].watch.observe(balancer.Event{Kind: balancer.ClientWaits}) // a queue that fills and empties
		}
		if w.backend(0).Ejected() {
			t.Error("the ejection does not end while clients come to an empty queue")
		}
	})
}
