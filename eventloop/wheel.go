package eventloop

import "math/bits"

// The wheel's measures. A tick is 2^23 ns, about 8.4 ms; a turn is 1024 ticks, about 8.6 s.
const (
	tickShift  = 23
	wheelSlots = 1024
	// farStep: timers beyond a turn are looked at again at multiples of farStep ticks (about 1 s),
	// so that thousands of hour-long idle timeouts wake a quiet loop once a second and not a
	// hundred times.
	farStep = 128
)

// wheel is a hashed timing wheel: one timer per id, set and stopped in constant time, fired at most
// one tick late (Varghese & Lauck, Hashed and Hierarchical Timing Wheels, 1987, scheme 6 with a
// bound on how far it looks ahead).
type wheel struct {
	timers   []timer // by id
	heads    [wheelSlots]uint32
	occupied [wheelSlots / 64]uint64
	tick     int64 // the last tick that was handled
}

// timer is a node of a slot's doubly linked list. Links are ids plus one; 0 is none.
type timer struct {
	due        int64 // tick; 0 when the timer is not set
	next, prev uint32
	slot       uint32
}

func (w *wheel) set(id uint32, at int64) {
	for int(id) >= len(w.timers) {
		w.timers = append(w.timers, timer{})
	}
	t := &w.timers[id]
	if t.due != 0 {
		w.unlink(id)
	}
	t.due = max((at+1<<tickShift-1)>>tickShift, w.tick+1)
	w.link(id)
}

func (w *wheel) stop(id uint32) {
	if int(id) < len(w.timers) && w.timers[id].due != 0 {
		w.unlink(id)
		w.timers[id].due = 0
	}
}

func (w *wheel) link(id uint32) {
	t := &w.timers[id]
	at := t.due
	if at-w.tick >= wheelSlots {
		at = (w.tick + wheelSlots - 1) &^ (farStep - 1)
	}
	t.slot = uint32(at) % wheelSlots
	head := &w.heads[t.slot]
	t.prev, t.next = 0, *head
	if *head != 0 {
		w.timers[*head-1].prev = id + 1
	}
	*head = id + 1
	w.occupied[t.slot/64] |= 1 << (t.slot % 64)
}

func (w *wheel) unlink(id uint32) {
	t := &w.timers[id]
	if t.next != 0 {
		w.timers[t.next-1].prev = t.prev
	}
	if t.prev != 0 {
		w.timers[t.prev-1].next = t.next
		return
	}
	w.heads[t.slot] = t.next
	if t.next == 0 {
		w.occupied[t.slot/64] &^= 1 << (t.slot % 64)
	}
}

// expire fires the timers that are due at now (nanoseconds). fire may set and stop any timer.
func (w *wheel) expire(now int64, fire func(id uint32)) {
	target := now >> tickShift
	for w.tick < target {
		ahead := w.ahead()
		if ahead == 0 || w.tick+ahead > target {
			w.tick = target
			return
		}
		w.tick += ahead
		head := &w.heads[w.tick%wheelSlots]
		for *head != 0 {
			id := *head - 1
			w.unlink(id)
			if t := &w.timers[id]; t.due > w.tick {
				w.link(id) // it lay beyond a turn
			} else {
				t.due = 0
				fire(id)
			}
		}
	}
}

// ahead is the number of ticks to the next occupied slot, or 0 if the wheel is empty.
func (w *wheel) ahead() int64 {
	start := uint32(w.tick+1) % wheelSlots
	word := start / 64
	masked := w.occupied[word] &^ (1<<(start%64) - 1)
	for i := range uint32(len(w.occupied) + 1) {
		if masked != 0 {
			slot := (word+i)%uint32(len(w.occupied))*64 + uint32(bits.TrailingZeros64(masked))
			return int64((slot-start)%wheelSlots) + 1
		}
		masked = w.occupied[(word+i+1)%uint32(len(w.occupied))]
	}
	return 0
}

// next is when a timer may be due, in nanoseconds. ok is false if no timer is set.
func (w *wheel) next() (at int64, ok bool) {
	ahead := w.ahead()
	return (w.tick + ahead) << tickShift, ahead != 0
}
