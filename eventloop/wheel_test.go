package eventloop

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const tick = int64(1) << tickShift

// fireAll advances the wheel to now and returns what it fires, in order.
func fireAll(w *wheel, now int64) []uint32 {
	var fired []uint32
	w.expire(now, func(id uint32) { fired = append(fired, id) })
	return fired
}

func TestWheelOrder(t *testing.T) {
	var w wheel
	w.set(2, 20*tick)
	w.set(0, 5*tick)
	w.set(1, 10*tick)
	w.set(3, 3000*tick) // beyond a turn
	if got := fireAll(&w, 4*tick); got != nil {
		t.Fatalf("fired early: %v", got)
	}
	if got := fireAll(&w, 4000*tick); !slices.Equal(got, []uint32{0, 1, 2, 3}) {
		t.Fatalf("fired %v", got)
	}
	if _, ok := w.next(); ok {
		t.Fatal("an empty wheel has a next timer")
	}
}

func TestWheelSetAgainAndStop(t *testing.T) {
	var w wheel
	w.set(0, 5*tick)
	w.set(1, 5*tick)
	w.set(2, 5*tick)
	w.set(0, 50*tick) // later
	w.stop(1)
	w.stop(1)
	w.stop(77) // never set
	if got := fireAll(&w, 49*tick); !slices.Equal(got, []uint32{2}) {
		t.Fatalf("fired %v, want the one that was left alone", got)
	}
	if got := fireAll(&w, 50*tick); !slices.Equal(got, []uint32{0}) {
		t.Fatalf("fired %v, want the one that was set again", got)
	}
}

// A timer is never early and at most a tick late, and one set for the past does not wait for a
// whole turn.
func TestWheelPrecision(t *testing.T) {
	for _, at := range []int64{1, tick - 1, tick, tick + 1, 7*tick + tick/2} {
		var w wheel
		w.set(0, at)
		due, ok := w.next()
		if !ok || due < at || due > at+tick {
			t.Errorf("set for %d, due at %d (%v)", at, due, ok)
		}
		if got := fireAll(&w, due-1); got != nil {
			t.Errorf("set for %d, fired before %d", at, due)
		}
		if got := fireAll(&w, due); len(got) != 1 {
			t.Errorf("set for %d, did not fire at %d", at, due)
		}
	}
	var w wheel
	fireAll(&w, 5000*tick)
	w.set(0, 3*tick)
	if got := fireAll(&w, 5001*tick); len(got) != 1 {
		t.Error("a timer set for the past did not fire with the next tick")
	}
}

// Far timers must not keep a quiet loop from sleeping.
func TestWheelFarTimersWakeSeldom(t *testing.T) {
	var w wheel
	for id := range uint32(1000) {
		w.set(id, int64(time.Hour)+int64(id)*tick/7)
	}
	wakes, fired := 0, 0
	var now int64
	for fired == 0 {
		at, ok := w.next()
		if !ok || at <= now {
			t.Fatalf("next is %d (%v) at %d", at, ok, now)
		}
		now = at
		wakes++
		fired += len(fireAll(&w, now))
	}
	if now < int64(time.Hour) {
		t.Errorf("fired after %v", time.Duration(now))
	}
	if most := int(time.Hour / time.Second); wakes > most {
		t.Errorf("an hour with 1000 timers due at its end took %d wakes", wakes)
	}
}

// TestWheelAgainstList compares the wheel with the plainest form of it: a list of due ticks that is
// searched.
func TestWheelAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		list := make(map[uint32]int64) // due tick by id
		now := rapid.Int64Range(0, 1<<50).Draw(t, "start")
		w.tick = now >> tickShift
		ids := rapid.Uint32Range(0, 40)
		// Near, around a turn, and far ahead; the past too.
		delay := rapid.OneOf(
			rapid.Int64Range(-10*tick, 3*tick),
			rapid.Int64Range(0, 2*wheelSlots*tick),
			rapid.Int64Range(0, int64(24*time.Hour)),
		)
		set := func(id uint32, at int64) {
			w.set(id, at)
			list[id] = max((at+tick-1)/tick, w.tick+1)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				set(ids.Draw(t, "id"), now+delay.Draw(t, "delay"))
			case 2:
				id := ids.Draw(t, "id")
				w.stop(id)
				delete(list, id)
			case 3:
				now += max(0, delay.Draw(t, "advance"))
				w.expire(now, func(id uint32) {
					due, ok := list[id]
					if !ok {
						t.Fatalf("timer %d fired and was not set", id)
					}
					for other, otherDue := range list {
						if otherDue < due {
							t.Fatalf("timer %d (tick %d) fired before %d (tick %d)", id, due, other, otherDue)
						}
					}
					if due > now>>tickShift {
						t.Fatalf("timer %d fired at tick %d, is due at %d", id, now>>tickShift, due)
					}
					delete(list, id)
					// A handler sets its own timer again, and stops others'.
					switch rapid.IntRange(0, 3).Draw(t, "in handler") {
					case 0:
						set(id, now+delay.Draw(t, "delay"))
					case 1:
						other := ids.Draw(t, "id")
						w.stop(other)
						delete(list, other)
					}
				})
				for id, due := range list {
					if due <= now>>tickShift {
						t.Fatalf("timer %d did not fire at tick %d, was due at %d", id, now>>tickShift, due)
					}
				}
			}
			at, ok := w.next()
			if ok != (len(list) > 0) {
				t.Fatalf("next says %v with %d timers", ok, len(list))
			}
			for id, due := range list {
				if at > due<<tickShift {
					t.Fatalf("the loop would sleep until tick %d, timer %d is due at %d", at>>tickShift, id, due)
				}
			}
		}
	})
}
