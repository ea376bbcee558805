package proxy

import "time"

// Many connections that end at once have more records than their ring has room for. So they are ended in slices, and the
// recorder empties the ring between two slices. A log that blocks must not hold this up for long.
const (
	sliceEvery = 10 * time.Millisecond
	slicesMost = 60 // waits for room; after that, records are lost and counted
	// endMost is how long ending all connections may take: the slices, and the time that flush waits.
	endMost = 2*slicesMost*sliceEvery + flushMost
)

// roomToEnd reports whether another connection may be ended now as part of e: either there is room for its record, or e
// has waited long enough.
func (w *worker) roomToEnd(e *eviction) bool {
	return !w.server.recording || w.records.room() > w.closing || e.slices >= slicesMost
}

// nextSlice continues index after sliceEvery.
func (w *worker) nextSlice(index uint32, e *eviction) {
	e.slices++
	w.loop.SetTimer(index, w.loop.Now()+int64(sliceEvery))
}

// endAll ends every connection of this worker, including those that arrive later.
func (w *worker) endAll(o Outcome) {
	w.ending = o
	index, c := w.takeConn()
	c.state = stateEnding
	c.eviction = new(eviction)
	w.endMore(index, c)
}

// endMore ends clients that wait for a connection slot, and then connections, as many as there is room for.
func (w *worker) endMore(index uint32, c *conn) {
	e := c.eviction
	for _, socket := range w.sockets {
		for len(socket.parked) > 0 {
			if !w.roomToEnd(e) {
				w.nextSlice(index, e)
				return
			}
			w.endParked(socket)
		}
	}
	for ; e.next < w.connsEnd(); e.next++ {
		if !w.roomToEnd(e) {
			w.nextSlice(index, e)
			return
		}
		w.endOne(e.next)
	}
	w.freeConn(index, c)
}

func (w *worker) endOne(index uint32) {
	c := w.conn(index)
	switch c.state {
	case stateFree, stateListening, stateClosing, stateWithdrawn, stateEvicting, stateWatching, stateEnding:
	case stateHedging: // the client belongs to another conn; a later slice would miss the client if it moved here meanwhile
		w.end(*c.rival(), w.conn(*c.rival()), w.ending)
	case stateFlushing:
		w.loop.StopTimer(index)
		w.finish(index, c)
	default:
		w.end(index, c, w.ending)
	}
}
