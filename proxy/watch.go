package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

// A peer is watched (eventloop.Loop.Watch) while nothing is read from it: a client that waits for a backend, so that one
// that has gone keeps no other out; and an end that has sent its FIN, so that a reset that follows is passed on at once
// and not with the next write.

// watchAfter is how long a connection is half-closed before the end that has finished is watched. Most connections end
// sooner, and need not pay for it.
const watchAfter = 50 * time.Millisecond

// watchClient watches a client that waits.
func (w *worker) watchClient(index uint32, c *conn) {
	if slot := slotOf(index, client); w.loop.Reading(slot) == eventloop.OpNone {
		w.loop.Watch(slot, c.flags&flagClientEnded == 0)
	}
}

// unwatchClient ends the watch of a client that need not wait any more. What reads from it next has to wait for the
// completion; see watchDone.
func (w *worker) unwatchClient(index uint32) { w.loop.CancelRead(slotOf(index, client)) }

// watchEnded watches the end of a half-closed connection that has sent its FIN.
func (w *worker) watchEnded(index uint32, c *conn) {
	if c.flags&(flagHalfClosed|flagWatched) != flagHalfClosed {
		return
	}
	c.flags |= flagWatched
	for e := range 2 {
		if slot := slotOf(index, e); c.flow[e].ended == flowFIN && w.loop.Reading(slot) == eventloop.OpNone {
			w.loop.Watch(slot, false)
		}
	}
}

// watchDone is reached when a watch has ended.
func (w *worker) watchDone(index uint32, c *conn, end int, done *eventloop.Completion) {
	switch c.state {
	case stateQueued, stateWaiting:
		w.waitingClientEnded(index, c, done.Err)
	case stateDenying:
		w.loop.Recv(done.Slot)
	case stateClosing:
		w.closeDone(index, c, done)
	case stateRelaying:
		switch {
		case c.flow[end].ended == flowOpen: // it was the watch of a waiting client
			w.read(index, c, end)
			w.endIfOver(index, c)
		case done.Err == 0:
			// Without an error, a unix socket was closed. That may be its peer's way to finish: a write will tell.
			if errno := rawsys.SocketError(w.loop.FD(done.Slot)); errno != 0 {
				w.broken(index, c, end, errno)
				w.endIfOver(index, c)
			}
		}
	}
	// While a backend is dialled, the connection goes on: what the client has sent is the backend's to see.
}

// waitingClientEnded ends a client that has gone while it waited. One that has sent its request and then its FIN waits
// on for the answer; only a reset is its end.
func (w *worker) waitingClientEnded(index uint32, c *conn, errno unix.Errno) {
	fd := w.loop.FD(slotOf(index, client))
	if errno == 0 {
		errno = rawsys.SocketError(fd)
	}
	switch {
	case errno == unix.ECANCELED: // for a dial that has failed by now
		w.watchClient(index, c)
	case errno != 0:
		w.end(index, c, outcomeOf(SideClient, errno))
	case rawsys.Unread(fd) == 0:
		w.end(index, c, Outcome{SideClient, ReasonClosed})
	case c.flags&flagClientEnded == 0:
		c.flags |= flagClientEnded
		w.watchClient(index, c)
	}
}
