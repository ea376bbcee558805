package control

import (
	"testing"
	"time"

	"l4proxy/backend"
)

// The tests here apply plans while a Watch is busy with the data plane, so that it works from a
// plan that is no longer the latest.

const followingPools = `
pools:
  bad: {backends: ["192.0.2.1:1"], health: {}, on_down: reset}
  good: {backends: ["192.0.2.2:1"], health: {}}
`

// TestListenerLeavesABusyPool: a pool goes down just as a listener stops following it. The listener
// must end up open, whatever the pool's Watch does last.
func TestListenerLeavesABusyPool(t *testing.T) {
	const first = `
listeners: {z: {bind: "127.0.0.1:9", pool: bad}, a: {bind: "127.0.0.1:1", pool: bad, when_no_backend: unlisten}}
` + followingPools
	for _, c := range []struct{ what, next string }{
		{"follows no pool", `
listeners: {z: {bind: "127.0.0.1:9", pool: bad}, a: {bind: "127.0.0.1:1", pool: bad}}
` + followingPools},
		{"follows another pool", `
listeners: {z: {bind: "127.0.0.1:9", pool: bad}, a: {bind: "127.0.0.1:1", pool: good, when_no_backend: unlisten}}
` + followingPools},
		{"its pool is removed", `
listeners: {a: {bind: "127.0.0.1:1", pool: good}}
pools: {good: {backends: ["192.0.2.2:1"], health: {}}}
`},
	} {
		t.Run(c.what, func(t *testing.T) {
			inWorld(t, first, func(t *testing.T, w *world) {
				w.backend(0).Acquire()
				w.hold = make(chan struct{})
				w.down("192.0.2.1:1") // its Watch ends connections, and will then close the listener
				time.AfterFunc(time.Second, func() { close(w.hold) })
				w.apply(c.next)
				w.pass(10 * time.Second)
				open := true
				for _, l := range w.listens() {
					if l.name == "a" {
						open = l.on
					}
				}
				if !open {
					t.Error("the listener stays closed")
				}
			})
		})
	}
}

// TestChecksOffAndOnAgain turns checks off and on before the Watch gets to it.
func TestChecksOffAndOnAgain(t *testing.T) {
	const off = `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"]}}
`
	const on = `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}, on_down: reset}}
`
	inWorld(t, on, func(t *testing.T, w *world) {
		w.backend(1).Acquire()
		w.down("192.0.2.1:1")
		w.hold = make(chan struct{})
		w.down("192.0.2.2:1")
		w.apply(off)
		w.apply(on)
		close(w.hold)
		w.pass(20 * time.Second)
		for i := range 2 {
			if h := w.backend(i).Health(); h != backend.HealthDown {
				t.Errorf("backend %d is %v, but its checks fail", i, h)
			}
		}
	})
}
