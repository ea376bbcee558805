package proxy

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

const (
	// acceptRetry is the pause after descriptors or places have run out: short enough to be back within a blink when
	// there are some, long enough to cost nothing.
	acceptRetry = 50 * time.Millisecond
	// parkedMost bounds the connections that one batch of accepts may bring beyond the limit.
	parkedMost = 1024
)

// listenSocket is one listening socket on one worker.
type listenSocket struct {
	listener *Listener
	fd       int
	index    uint32 // of its conn
	paused   bool   // no accept in flight; the timer will start one
	short    bool   // descriptors have run out, and that was logged
}

// listen starts to accept on a listening socket.
func (w *worker) listen(fd int, l *Listener) {
	index, c := w.takeConn()
	c.state = stateListening
	c.listener = l
	c.socket = &listenSocket{listener: l, fd: fd, index: index}
	w.sockets = append(w.sockets, c.socket)
	w.loop.Attach(slotOf(index, client), fd)
	w.loop.Accept(slotOf(index, client))
}

// accepted handles what a listening socket says.
func (w *worker) accepted(index uint32, c *conn, done *eventloop.Completion) {
	socket := c.socket
	switch done.Err {
	case 0:
		socket.short = false
		w.arrived(arrival{fd: done.FD, peer: done.Peer, listener: socket.listener, at: w.loop.Now()})
	case unix.ECANCELED:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		if !socket.short {
			socket.short = true
			w.server.log.Warn("cannot accept: out of file descriptors or memory; clients wait until there are some",
				"listener", socket.listener.Name, "error", done.Err.Error())
		}
		socket.paused = true
	default:
		// What accept(2) says of the connection that it would have returned: an error of that client alone.
	}
	if done.More {
		if w.full(socket.listener) {
			w.loop.CancelRead(done.Slot)
		}
		return
	}
	switch {
	case w.draining:
		w.closeListener(index, c)
	case socket.paused || w.full(socket.listener):
		if !socket.paused {
			w.server.limitReached(socket.listener)
		}
		socket.paused = true
		w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
	default:
		w.loop.Accept(done.Slot)
	}
}

// full reports whether another client of l would find no place.
func (w *worker) full(l *Listener) bool {
	return len(w.parked) > 0 || w.server.limit.Full() || l.Limit.Full()
}

// resumeAccept accepts again after a pause, if there is room.
func (w *worker) resumeAccept(index uint32, c *conn) {
	w.unpark()
	if w.full(c.listener) {
		w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
		return
	}
	c.socket.paused = false
	w.loop.Accept(slotOf(index, client))
}

// arrived takes a place for a new client. An accept that stands for many brings clients beyond the limit before it
// can be stopped; they keep their turn.
func (w *worker) arrived(a arrival) {
	if len(w.parked) > 0 || !w.takePlace(a.listener) {
		if len(w.parked) >= parkedMost {
			rawsys.Close(a.fd)
			w.server.turnedAway.Add(1)
			return
		}
		w.parked = append(w.parked, a)
		return
	}
	if other := w.server.roomier(w); other != nil && other.loop.Post(a) {
		return
	}
	w.admit(a)
}

// takePlace takes a place of the process and of the listener, or neither.
func (w *worker) takePlace(l *Listener) bool {
	if !w.server.limit.Take() {
		return false
	}
	if !l.Limit.Take() {
		w.server.limit.Give()
		return false
	}
	return true
}

func (w *worker) givePlace(l *Listener) {
	l.Limit.Give()
	w.server.limit.Give()
}

// unpark admits those who wait for a place, while there are any.
func (w *worker) unpark() {
	for len(w.parked) > 0 && w.takePlace(w.parked[0].listener) {
		a := w.parked[0]
		w.parked = w.parked[1:]
		if len(w.parked) == 0 {
			w.parked = nil
		}
		w.admit(a)
	}
}

// admit asks the ACL, and lets a client in or turns it away. Its place is taken.
func (w *worker) admit(a arrival) {
	decision := a.listener.ACL.Decide(a.peer.Addr())
	if !decision.Allow && decision.Action != acl.Message {
		w.turnAway(a, decision)
		return
	}
	index, c := w.takeConn()
	w.load.Add(1)
	c.listener, c.peer, c.accepted, c.lastActive = a.listener, a.peer, a.at, a.at
	c.flags = flagClient
	w.loop.Attach(slotOf(index, client), a.fd)
	if !decision.Allow {
		w.deny(index, c, decision)
		return
	}
	w.dial(index, c)
}

// stopAccepting stops all listeners of this worker.
func (w *worker) stopAccepting() {
	w.draining = true
	for _, socket := range slices.Clone(w.sockets) {
		slot := slotOf(socket.index, client)
		if w.loop.Busy(slot) {
			w.loop.CancelRead(slot) // closed when that has ended
		} else {
			w.closeListener(socket.index, w.conn(socket.index))
		}
	}
}

// closeListener takes the clients that already wait in the socket's queue (closing it would reset them), then closes it.
func (w *worker) closeListener(index uint32, c *conn) {
	socket := c.socket
	rawsys.SetNonblock(socket.fd, true)
	for {
		fd, peer, errno := rawsys.Accept(socket.fd, w.loop.SocketFlags())
		if errno == unix.ECONNABORTED || errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			break
		}
		w.arrived(arrival{fd: fd, peer: peer, listener: socket.listener, at: w.loop.Now()})
	}
	w.loop.StopTimer(index)
	w.loop.Close(slotOf(index, client))
	w.sockets = slices.DeleteFunc(w.sockets, func(s *listenSocket) bool { return s == socket })
	w.freeConn(index, c)
	w.server.listenerClosed()
}
