package proxy

import "time"

// Many connections that end at once have more records than their ring has room for: they are ended in slices, between
// which the recorder takes what there is. A log that blocks must not keep them for long.
const (
	sliceEvery = 10 * time.Millisecond
	slicesMost = 60 // without room; then records are lost, and counted
	// endMost is how long it may take to end all connections: the slices, and what flush waits for.
	endMost = 2*slicesMost*sliceEvery + flushMost
)

// roomToEnd reports whether another connection may be ended now, as part of e: whether there is room for its record, or
// enough time has been given.
func (w *worker) roomToEnd(e *eviction) bool {
	return !w.server.recording || w.records.room() > w.closing || e.slices >= slicesMost
}

// nextSlice has index go on shortly.
func (w *worker) nextSlice(index uint32, e *eviction) {
	e.slices++
	w.loop.SetTimer(index, w.loop.Now()+int64(sliceEvery))
}

// endAll ends every connection of this worker, those that arrive later included.
func (w *worker) endAll(o Outcome) {
	w.ending = o
	index, c := w.takeConn()
	c.state = stateEnding
	c.eviction = new(eviction)
	w.endMore(index, c)
}

// endMore ends as many clients that wait for a connection slot, and then connections, as there is room for.
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
	case stateHedging: // the client is another conn's, which a later slice would miss if the client moved here meanwhile
		w.end(*c.rival(), w.conn(*c.rival()), w.ending)
	case stateFlushing:
		w.loop.StopTimer(index)
		w.finish(index, c)
	default:
		w.end(index, c, w.ending)
	}
}
