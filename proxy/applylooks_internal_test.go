package proxy

import (
	"testing"
	"time"
)

// TestLooksFollowTheState: the looks for silent backends begin with a State that needs them. They
// go on while a connection of that State needs them, and then end.
func TestLooksFollowTheState(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, _ := startSilent(t, engine, 1, 3)
		w := in.server.workers[0]
		apply := func(limit time.Duration) {
			t.Helper()
			l := *in.listener()
			pool := *l.Pool
			pool.FirstByte, l.Pool = limit, &pool
			if err := in.server.Apply(&State{Listeners: []*Listener{&l}}, 0); err != nil {
				t.Fatal(err)
			}
		}
		looking := func(what string, want bool) {
			t.Helper()
			in.pass(maxLookEvery + clockStep)
			in.on(w, func() {
				if got := w.look != nil; got != want {
					t.Errorf("%s: looks are made: %v", what, got)
				}
			})
		}
		looking("at first", true)
		apply(0)
		looking("the State needs none, and there are no connections", false)
		apply(firstByte)
		looking("the State needs them again", true)
		c := in.client(1, "")
		apply(0)
		looking("a connection of the older State needs them", true)
		in.on(w, func() {
			if every := w.look.every; every != firstByte/looksPerFirstByte {
				t.Errorf("a look every %v, want %v", every, firstByte/looksPerFirstByte)
			}
		})
		c.Close()
		in.eventually(w, "the connection has ended", func() bool { return in.server.Connections() == 0 })
		looking("its connection has ended", false)
	})
}

// TestLooksGoOnWhileStatesFollow: a look is not put off by another State.
func TestLooksGoOnWhileStatesFollow(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 1, 1)
		in.client(1, "s")
		for range 2 * firstByte / (clockStep / 2) {
			l := *in.listener()
			if err := in.server.Apply(&State{Listeners: []*Listener{&l}}, 0); err != nil {
				t.Fatal(err)
			}
			in.pass(clockStep / 2)
		}
		if !b.Ejected() {
			t.Error("the silent backend was not noticed")
		}
	})
}
