package control

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/proxy"
)

// TestApplyKeepsWhatIsLive applies a second configuration: what has the same name is the same
// object, with its counts, under the new settings.
func TestApplyKeepsWhatIsLive(t *testing.T) {
	inWorld(t, `
listeners: {a: {bind: "127.0.0.1:1", pool: one, max_connections: 7}, b: {bind: "127.0.0.1:2", pool: two, max_connections: 9}}
pools:
  one: {backends: ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]}
  two: {backends: ["192.0.2.1:1"]}
`, func(t *testing.T, w *world) {
		old := w.state
		before := old.Listeners[0]
		former := before.Pool.Balancer.Members()
		b, _ := before.Pool.Balancer.Pick(balancer.Request{Now: w.live.clock()})
		w.apply(`
listeners: {c: {bind: "127.0.0.1:3", pool: three}, a: {bind: "127.0.0.1:1", pool: one, max_connections: 3}}
pools:
  three: {backends: ["192.0.2.1:1"]}
  one:
    policy: first
    connect: {attempts: 9}
    backends: [{address: "192.0.2.3:1", weight: 5, max_connections: 2}, "192.0.2.4:1", {address: "192.0.2.1:1", priority: 1}]
`)
		added, after := w.state.Listeners[0], w.state.Listeners[1]
		switch {
		case after == before || after.Pool == before.Pool || w.state == old:
			t.Error("a State has changed")
		case after.Pool.Balancer != before.Pool.Balancer || after.Pool.Hedges != before.Pool.Hedges || after.Slots != before.Slots:
			t.Error("a balancer, a hedge budget or slots were made again")
		case after.Slots.Limit() != 3 || after.Pool.Attempts != 9:
			t.Errorf("slots = %d, attempts = %d", after.Slots.Limit(), after.Pool.Attempts)
		case added.Pool.Balancer == before.Pool.Balancer || added.Slots == before.Slots || added.Pool.Balancer.Members()[0].Backend == former[0].Backend:
			t.Error("a new pool or listener shares what is live with another")
		}
		members := after.Pool.Balancer.Members()
		if members[0].Backend != former[2].Backend || members[2].Backend != former[0].Backend {
			t.Error("backends were made again")
		}
		if m := members[0]; m.Weight != 5 || m.MaxConnections != 2 || members[2].Priority != 1 {
			t.Errorf("members = %+v", members)
		}
		if b != former[0].Backend || b.Active() != 1 {
			t.Errorf("%s has %d connections, want the one from before", b.Address, b.Active())
		}
		for _, want := range []string{"192.0.2.3:1", "192.0.2.3:1", "192.0.2.4:1"} { // the first one has room for two
			if b, _ := after.Pool.Balancer.Pick(balancer.Request{Now: w.live.clock()}); b == nil || b.Address != want {
				t.Errorf("picked %v, want %s", b, want)
			}
		}
	})
}

// TestUnchangedBalancer holds that the balancer of a pool that stays the same is not disturbed.
func TestUnchangedBalancer(t *testing.T) {
	inWorld(t, ejectingPool, func(t *testing.T, w *world) {
		before := w.live.pools["back"]
		w.apply(ejectingPool)
		if !w.live.pools["back"].picksLike(before) {
			t.Error("the balancer was updated although nothing has changed")
		}
		w.apply(strings.Replace(ejectingPool, "eject: 1s", "eject: 2s", 1))
		if w.live.pools["back"].picksLike(before) {
			t.Error("the balancer was not updated")
		}
	})
}

// TestFailedInstallChangesNothing has the new State refused, as when an address is in use.
func TestFailedInstallChangesNothing(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		w.pass(time.Second)
		before := w.live.pools["back"]
		next := plan(t, parse(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back, max_connections: 5}, more: {bind: "127.0.0.1:2", pool: new}}
pools: {back: {backends: ["192.0.2.9:1"]}, new: {backends: ["192.0.2.8:1"], health: {}}}
`), noNames)
		next.Pools[1].Checks.Checker = w
		refused := errors.New("the address is in use")
		if err := w.live.Apply(next, func(*proxy.State) error { return refused }); err != refused {
			t.Errorf("error %v", err)
		}
		w.pass(10 * time.Second)
		if w.live.pools["back"] != before || len(w.live.pools) != 1 || w.state.Listeners[0].Slots.Limit() != 0 {
			t.Error("live objects have changed")
		}
		if b, _ := w.pool().Balancer.Pick(balancer.Request{Now: w.live.clock()}); b != w.backend(0) {
			t.Errorf("picked %v, want the backend from before", b)
		}
		if w.checks("192.0.2.8:1") != 0 || w.checks("192.0.2.1:1") < 5 {
			t.Errorf("%d checks of the refused pool, %d of the pool that stays", w.checks("192.0.2.8:1"), w.checks("192.0.2.1:1"))
		}
	})
}

const checkedPools = `
listeners: {a: {bind: "127.0.0.1:1", pool: one}, b: {bind: "127.0.0.1:2", pool: two}}
pools:
  one: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}, on_down: reset}
  two: {backends: ["192.0.2.3:1"], health: {}, on_removed: close}
`

// TestWatchesComeAndGo removes a pool and adds another, while a third one stays.
func TestWatchesComeAndGo(t *testing.T) {
	inWorld(t, checkedPools, func(t *testing.T, w *world) {
		w.down("192.0.2.2:1")
		gone := w.state.Listeners[1].Pool.Balancer.Members()[0].Backend
		gone.Acquire()
		w.hang("192.0.2.3:1")
		w.pass(2500 * time.Millisecond) // a check of the pool that goes is under way
		w.apply(`
listeners: {a: {bind: "127.0.0.1:1", pool: one}, c: {bind: "127.0.0.1:3", pool: three}}
pools:
  one: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}, on_down: reset}
  three: {backends: ["192.0.2.4:1"], health: {}}
`)
		if n := w.hangs.Load(); n != 0 {
			t.Errorf("%d checks of a pool that is gone are under way", n)
		}
		if e := w.evicted(); len(e) != 1 || e[0].Backend != gone || e[0].Reason != proxy.ReasonBackendRemoved || e[0].Reset {
			t.Errorf("evictions = %+v, want one of the backend of the pool that is gone", e)
		}
		w.logged(`msg="closing connections of backend" pool=two backend=192.0.2.3:1 connections=1 reason=backend_removed action=close`)
		if w.backend(1).Health() != backend.HealthDown {
			t.Error("the health of a backend that stays is forgotten")
		}
		former, stays := w.checks("192.0.2.3:1"), w.checks("192.0.2.1:1")
		w.down("192.0.2.4:1")
		w.logged(`msg="backend down" pool=three backend=192.0.2.4:1`)
		if n := w.checks("192.0.2.3:1"); n != former {
			t.Errorf("%d checks of a pool that is gone", n-former)
		}
		if n := w.checks("192.0.2.1:1"); n < stays+4 {
			t.Errorf("%d checks of the pool that stays, in 10 s", n-stays)
		}
		w.up("192.0.2.2:1")
		w.logged(`msg="backend up" pool=one backend=192.0.2.2:1 previous=down`)
	})
}

// TestRenamedPool is a pool under a new name with the same backends.
func TestRenamedPool(t *testing.T) {
	inWorld(t, checkedPools, func(t *testing.T, w *world) {
		w.apply(`
listeners: {a: {bind: "127.0.0.1:1", pool: uno}}
pools: {uno: {backends: ["192.0.2.1:1", "192.0.2.2:1"], health: {}, on_down: reset}}
`)
		w.backend(0).Acquire()
		w.down("192.0.2.1:1")
		w.logged(`msg="backend down" pool=uno backend=192.0.2.1:1`)
		if e := w.evicted(); len(e) != 1 || e[0].Backend != w.backend(0) {
			t.Errorf("evictions = %+v", e)
		}
	})
}

// TestRemovedBackends treats the connections of a backend that leaves its pool as on_removed of the
// new configuration says. One that comes back while it has connections is the same backend.
func TestRemovedBackends(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		gone := w.backend(0)
		gone.Acquire()
		w.apply(`
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.2:1"], on_removed: reset, spread: 3s}}
`)
		e := w.evicted()
		if len(e) != 1 || e[0].Backend != gone || e[0].Reason != proxy.ReasonBackendRemoved || !e[0].Reset || e[0].Over != 3*time.Second {
			t.Errorf("evictions = %+v", e)
		}
		w.apply(watchedPool)
		if w.backend(0) != gone || w.backend(0).Active() != 1 {
			t.Error("a backend that comes back has lost its connections")
		}
		gone.Release()
		w.apply(`
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.2:1"]}}
`)
		w.apply(watchedPool)
		if w.backend(0) == gone {
			t.Error("a backend is remembered without connections")
		}
	})
}

// TestReturnedBackend cancels the drain of a backend that comes back in time, also after other
// plans have come between. What its checks found before is forgotten.
func TestReturnedBackend(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		b := w.backend(0)
		b.Acquire()
		w.down("192.0.2.1:1")
		w.evicted()
		without := strings.Replace(watchedPool, "      - 192.0.2.1:1\n", "", 1)
		if without == watchedPool {
			t.Fatal("watchedPool has changed")
		}
		w.apply(without)
		e := w.evicted()
		if len(e) != 1 || e[0].After == 0 || e[0].Unless == nil {
			t.Fatalf("evictions = %+v, want a drain", e)
		}
		if e[0].Unless() || b.Health() != backend.HealthUnknown {
			t.Errorf("while it is gone: canceled %v, health %v", e[0].Unless(), b.Health())
		}
		w.apply(without)
		w.apply(watchedPool)
		if w.backend(0) != b || !e[0].Unless() {
			t.Error("the drain of a backend that is back is not canceled")
		}
		w.up("192.0.2.1:1")
		if b.Health() != backend.HealthUp {
			t.Errorf("health = %v", b.Health())
		}
	})
}

// waiter is a client in a queue.
type waiter struct{ granted chan *backend.Backend }

func (w *waiter) Granted(b *backend.Backend) { w.granted <- b }

// TestQueueOfARemovedPool lets the clients in the queue of a removed pool have their turn. Its
// Watch ends after them.
func TestQueueOfARemovedPool(t *testing.T) {
	inWorld(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back, when_no_backend: queue}}
pools: {back: {backends: ["192.0.2.1:1"], queue: {size: 10}}}
`, func(t *testing.T, w *world) {
		p, b := w.pool().Balancer, w.backend(0)
		now := w.live.clock()
		p.Failed(b, now, now) // in backoff: a tick has to let the first client try it
		client := &waiter{make(chan *backend.Backend, 1)}
		if _, verdict := p.Pick(balancer.Request{Now: now, Waiter: client, OnlyAvailable: true, WaitForAny: true}); verdict != balancer.Waiting {
			t.Fatalf("verdict %v, want Waiting", verdict)
		}
		w.apply(`
listeners: {front: {bind: "127.0.0.1:1", pool: other}}
pools: {other: {backends: ["192.0.2.2:1"]}}
`)
		w.pass(time.Minute)
		select {
		case got := <-client.granted:
			if got != b {
				t.Errorf("got %v", got)
			}
		default:
			t.Fatal("the client waits forever")
		}
		before := w.clockReads.Load()
		w.pass(time.Minute)
		if n := w.clockReads.Load() - before; n != 0 {
			t.Errorf("%d ticks of a pool that is gone", n)
		}
	})
}

// TestFrequentApplies holds that a dead backend is found even if configurations come faster than
// its checks fail.
func TestFrequentApplies(t *testing.T) {
	inWorld(t, checkedPools, func(t *testing.T, w *world) {
		w.pass(10 * time.Second)
		w.fail("192.0.2.1:1", errors.New("it hangs"))
		for range 50 {
			w.pass(100 * time.Millisecond)
			w.apply(checkedPools)
		}
		if w.backend(0).Health() != backend.HealthDown || w.backend(1).Health() != backend.HealthUp {
			t.Errorf("health = %v, %v, want down and up", w.backend(0).Health(), w.backend(1).Health())
		}
	})
}

// TestChecksAreTurnedOff brings a backend back that was down: nothing would ever find out that it
// is up.
func TestChecksAreTurnedOff(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		w.down("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
		w.apply(`
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]}}
`)
		checks := w.checks("192.0.2.1:1")
		w.pass(10 * time.Second)
		if w.backend(0).Health() != backend.HealthUnknown || w.checks("192.0.2.1:1") != checks {
			t.Errorf("health = %v after %d more checks", w.backend(0).Health(), w.checks("192.0.2.1:1")-checks)
		}
		if got := w.listens(); !slices.Equal(got, []listening{{"front", false}, {"front", true}}) {
			t.Errorf("listening = %v", got)
		}
	})
}

// TestListenersFollowTheirPools changes which listener follows which pool, while one pool is down.
func TestListenersFollowTheirPools(t *testing.T) {
	config := func(listeners string) string {
		return `
listeners: {` + listeners + `, z: {bind: "127.0.0.1:9", pool: good}}
pools: {bad: {backends: ["192.0.2.1:1"], health: {}}, good: {backends: ["192.0.2.2:1"], health: {}}}
`
	}
	inWorld(t, config(`a: {bind: "127.0.0.1:1", pool: bad, when_no_backend: unlisten}`), func(t *testing.T, w *world) {
		w.down("192.0.2.1:1")
		for _, step := range []struct {
			what, listeners string
			want            []listening
		}{
			{"at first", "", []listening{{"a", false}}},
			{"a new listener of the pool", `a: {bind: "127.0.0.1:1", pool: bad, when_no_backend: unlisten}, b: {bind: "127.0.0.1:2", pool: bad, when_no_backend: unlisten}`,
				[]listening{{"b", false}}},
			{"one moves to a pool that can serve", `a: {bind: "127.0.0.1:1", pool: good, when_no_backend: unlisten}, b: {bind: "127.0.0.1:2", pool: bad, when_no_backend: unlisten}`,
				[]listening{{"a", true}}},
			{"it moves back", `a: {bind: "127.0.0.1:1", pool: bad, when_no_backend: unlisten}, b: {bind: "127.0.0.1:2", pool: bad, when_no_backend: unlisten}`,
				[]listening{{"a", true}, {"a", false}}},
			{"one no longer follows", `a: {bind: "127.0.0.1:1", pool: bad}, b: {bind: "127.0.0.1:2", pool: bad, when_no_backend: unlisten}`,
				[]listening{{"a", true}}},
		} {
			if step.listeners != "" {
				w.apply(config(step.listeners))
			}
			if got := w.listens(); !slices.Equal(got, step.want) {
				t.Errorf("%s: listening = %v, want %v", step.what, got, step.want)
			}
		}
		w.up("192.0.2.1:1")
		if got := w.listens(); !slices.Equal(got, []listening{{"b", true}}) {
			t.Errorf("up again: listening = %v", got)
		}
	})
}

// TestOtherAddressOfAName: a name with another address is another server, and nothing known about
// the old one applies to it.
func TestOtherAddressOfAName(t *testing.T) {
	live := NewLive(slog.New(slog.DiscardHandler))
	members := func(address string) []balancer.Member {
		lookup := (&names{known: map[string][]string{"db.test": {address}}}).lookup
		var state *proxy.State
		p := plan(t, parse(t, `
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {back: {backends: ["db.test:1", "192.0.2.2:1"]}}
`), lookup)
		if err := live.Apply(p, func(s *proxy.State) error { state = s; return nil }); err != nil {
			t.Fatal(err)
		}
		return state.Listeners[0].Pool.Balancer.Members()
	}
	first, same, moved := members("192.0.2.8"), members("192.0.2.8"), members("192.0.2.9")
	if first[0].Backend != same[0].Backend || first[1].Backend != moved[1].Backend {
		t.Error("a backend was made again")
	}
	if moved[0].Backend == first[0].Backend {
		t.Error("a name with another address is the same backend")
	}
}

// TestTroubleIsLogged has checks fail because the proxy itself is out of descriptors.
func TestTroubleIsLogged(t *testing.T) {
	inWorld(t, watchedPool, func(t *testing.T, w *world) {
		w.live.checks.Trouble(errors.New("too many open files"))
		w.live.checks.Trouble(nil)
		w.logged(
			`level=ERROR msg="health checks paused: the proxy is out of descriptors or ports" error="too many open files"`,
			`level=INFO msg="health checks resumed"`,
		)
	})
}
