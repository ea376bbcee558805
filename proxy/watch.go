package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

// A peer is watched (eventloop.Loop.Watch) while nothing is read from it. A client that waits for a
// backend is watched so that it releases its slot when it leaves. An end that has sent its FIN is
// watched so that a reset after the FIN is passed on at once, not only at the next write.

// watchAfter is how long a connection is half-closed before the finished end is watched. Most
// connections end sooner and avoid the cost.
const watchAfter = 50 * time.Millisecond

// watchClient watches a client that waits.
func (w *worker) watchClient(c *conn) {
	if slot := c.slot(clientEnd); w.loop.Reading(slot) == eventloop.OpNone {
		w.loop.Watch(slot, c.flags&flagClientEnded == 0)
	}
}

// unwatchClient ends the watch of a client that no longer waits. The next read has to wait until
// the watch has completed; see watchDone.
func (w *worker) unwatchClient(c *conn) { w.loop.CancelRead(c.slot(clientEnd)) }

// watchEnded watches the end that has sent its FIN on a half-closed connection.
func (w *worker) watchEnded(c *conn) {
	if c.flags&(flagHalfClosed|flagWatched) != flagHalfClosed {
		return
	}
	c.flags |= flagWatched
	for e := range 2 {
		if slot := c.slot(e); c.flow[e].ended == flowFIN && w.loop.Reading(slot) == eventloop.OpNone {
			w.loop.Watch(slot, false)
		}
	}
}

// watchDone handles the end of a watch.
func (w *worker) watchDone(c *conn, end int, done *eventloop.Completion) {
	switch c.state {
	case stateNone:
		w.tasks[c.index].complete(done)
	case stateQueued, stateRetrying:
		w.waitingClientEnded(c, done.Err)
	case stateTurnedAway:
		w.loop.Recv(done.Slot)
	case stateLeaving:
		w.leavingDone(c, end, done)
	case stateClosing:
		w.closeDone(c, done)
	case stateRelaying:
		switch {
		case c.flow[end].ended == flowOpen: // the watch of a client that waited
			if w.loop.Writing(c.slot(1-end)) == eventloop.OpNone { // else writeDone reads
				w.read(c, end)
				w.endIfOver(c)
			}
		case done.Err == 0:
			// Without an error, the peer has closed a unix socket. It may just have finished
			// sending: the next write shows.
			if errno := rawsys.SocketError(w.loop.FD(done.Slot)); errno != 0 {
				w.broken(c, end, errno)
				w.endIfOver(c)
			}
		}
	}
	// While a backend is being dialled, the connection continues: the backend must see what the
	// client has sent.
}

// waitingClientEnded ends a client that has left while it waited. A client that has sent its
// request and then its FIN still waits for the answer. Only a reset means that it has left.
func (w *worker) waitingClientEnded(c *conn, errno unix.Errno) {
	fd := w.loop.FD(c.slot(clientEnd))
	if errno == 0 {
		errno = rawsys.SocketError(fd)
	}
	switch {
	case errno == unix.ECANCELED: // cancelled by a dial that has failed since then
		w.watchClient(c)
	case errno != 0:
		w.end(c, outcomeOf(SideClient, errno))
	case rawsys.Unread(fd) == 0 && c.hello.empty():
		w.end(c, Outcome{Side: SideClient, Reason: ReasonClosed})
	case c.flags&flagClientEnded == 0:
		c.flags |= flagClientEnded
		w.watchClient(c)
	}
}
