package proxy

import "time"

// Connections that all end at once have more records than their ring has room for. So a task ends
// them in slices, and the recorder empties the ring between two slices. A log that blocks must not
// delay this for long.
const (
	sliceEvery = 10 * time.Millisecond
	slicesMost = 60 // waits for room in the ring; after that, records are lost and counted
	// endMost is how long ending all connections may take: the slices, and the time that flush
	// waits.
	endMost = 2*slicesMost*sliceEvery + flushMost
)

// slicing counts how often a task that ends many connections has waited for room in the ring.
type slicing struct{ waited int }

// room reports whether another connection may be ended now: there is room for its record, or the
// task has waited long enough.
func (s *slicing) room(w *worker) bool {
	return !w.server.recording.Load() || w.records.room() > w.closing || s.waited >= slicesMost
}

// pause makes the task at an index continue after sliceEvery.
func (s *slicing) pause(w *worker, index uint32) {
	s.waited++
	w.loop.SetTimer(index, w.loop.Now()+int64(sliceEvery))
}

// allEnd is the task that ends every connection of a worker.
type allEnd struct {
	timerTask
	slicing
	worker *worker
	index  uint32
	next   uint32 // the first index that was not looked at yet
}

// endAll ends every connection of this worker, including those that arrive later.
func (w *worker) endAll(o Outcome) {
	w.ending = o
	w.endHeld()
	e := &allEnd{worker: w}
	e.index = w.startTask(e)
	e.expire()
}

// expire implements task: it ends parked clients, then connections, while there is room for their
// records.
func (e *allEnd) expire() {
	w := e.worker
	for _, s := range w.sockets {
		for len(s.parked) > 0 {
			if !e.room(w) {
				e.pause(w, e.index)
				return
			}
			w.endArrival(s.nextParked(), w.ending, "")
		}
	}
	for ; e.next < w.indices(); e.next++ {
		if !e.room(w) {
			e.pause(w, e.index)
			return
		}
		switch c := w.conn(e.next); c.state {
		case stateNone, stateClosing:
		case stateLeaving, stateMoving: // ends when it has left, or comes back; see leave.go
		case stateFlushing:
			w.loop.StopTimer(c.index)
			w.finish(c)
		default:
			w.cutOff(c, w.ending)
		}
	}
	w.endTask(e.index)
}
