package proxy

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

// acceptRetry is the pause after descriptors or connection slots have run out: short enough that clients hardly notice,
// long enough to cost nothing.
const acceptRetry = 50 * time.Millisecond

// listenSocket is one listening socket on one worker.
type listenSocket struct {
	listener *Listener
	fd       int
	index    uint32 // of its conn
	paused   bool   // no accept in flight; the timer will start one
	full     bool   // paused for want of a place
	short    bool   // descriptors have run out, and that was logged
	closed   bool   // only those that are parked are left
	deaf     bool   // it does not listen for the time being; see setListening
	failed   bool   // deaf, because it could not listen again
	// parked are clients that were accepted when there was no place left; they are first when there is one.
	parked []arrival
}

// closeParked closes the clients that wait for a connection slot.
func (socket *listenSocket) closeParked() {
	for _, a := range socket.parked {
		rawsys.Close(a.fd)
	}
	socket.parked = nil
}

// endParked ends the first client that waits for a connection slot, with a record. It has no slot to give back.
func (w *worker) endParked(socket *listenSocket) {
	a := socket.unpark()
	w.record(&conn{listener: a.listener, peer: a.peer, accepted: a.at, outcome: w.ending}, a.fd)
	rawsys.Close(a.fd)
}

// unpark removes the client that has waited longest.
func (socket *listenSocket) unpark() arrival {
	a := socket.parked[0]
	if socket.parked = socket.parked[1:]; len(socket.parked) == 0 {
		socket.parked = nil
	}
	return a
}

// listen takes a listening socket. The loop accepts on it when it runs: before, io_uring takes no more submissions
// than fit its queue.
func (w *worker) listen(fd int, l *Listener) {
	index, c := w.takeConn()
	c.state = stateListening
	c.listener = l
	c.socket = &listenSocket{listener: l, fd: fd, index: index}
	w.sockets = append(w.sockets, c.socket)
	w.loop.Attach(slotOf(index, client), fd)
}

// startAccepting is the first message of a worker, unless stopAccepting was faster.
func (w *worker) startAccepting() {
	for _, socket := range w.sockets {
		slot := slotOf(socket.index, client)
		if !socket.closed && !socket.deaf && !w.draining && !w.loop.Busy(slot) {
			w.loop.Accept(slot, w.room(socket))
		}
	}
}

// accepted handles what a listening socket says.
func (w *worker) accepted(index uint32, c *conn, done *eventloop.Completion) {
	socket := c.socket
	switch done.Err {
	case 0:
		socket.short = false
		w.arrived(socket, arrival{fd: done.FD, peer: done.Peer, listener: socket.listener, at: w.loop.Now()})
	case unix.ECANCELED:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		if !socket.short {
			socket.short = true
			w.server.log.Warn("cannot accept: out of file descriptors or memory; clients wait until there are some",
				"listener", socket.listener.Name, "error", done.Err.Error())
		}
		socket.paused = true
	default:
		// An error of the listening socket (those of one client stay in the event loop): it may last.
		socket.paused = !done.More
	}
	if done.More {
		if w.room(socket) <= w.loop.AcceptsAhead() {
			w.loop.CancelRead(done.Slot)
		}
		return
	}
	switch {
	case w.draining:
		w.closeListener(index, c)
	case socket.deaf:
		w.stopListening(socket)
	case socket.paused:
		w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
	default:
		w.accept(index, socket)
	}
}

// accept accepts, or pauses until there is room.
func (w *worker) accept(index uint32, socket *listenSocket) {
	room := w.room(socket)
	if room > 0 {
		socket.paused, socket.full = false, false
		w.loop.StopTimer(index)
		w.loop.Accept(slotOf(index, client), room)
		return
	}
	if !socket.full && w.server.waiting.Load() == 0 { // else it is descriptors that are short; see waitForResources
		w.server.limitReached(socket.listener)
	}
	socket.paused, socket.full = true, true
	w.crowded = true
	w.wanting.Store(true)
	w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
}

// room is for how many more clients of the socket there is a place. There is none while a client that was let in waits
// for a descriptor for its backend: another one would take it.
func (w *worker) room(socket *listenSocket) int {
	if len(socket.parked) > 0 || w.server.waiting.Load() > 0 {
		return 0
	}
	return w.server.slots.room(socket.listener.Slots)
}

// resumeAccept accepts again after a pause, if there is room: places that become free on other loops are told of at
// most once a pause, and descriptors not at all.
func (w *worker) resumeAccept(index uint32, c *conn) {
	w.unpark(c.socket)
	if c.socket.closed && len(c.socket.parked) == 0 {
		w.forgetListener(index, c)
		return
	}
	switch {
	case c.socket.closed:
		w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
	case w.draining:
		w.closeListener(index, c)
	case c.socket.failed:
		w.listenAgain(c.socket)
	case c.socket.deaf:
		w.waitForPlaces(c.socket)
	default:
		w.accept(index, c.socket)
	}
}

// placesFreed goes on with those who waited for a place that has become free on this loop, and tells other loops where
// clients wait.
func (w *worker) placesFreed() {
	w.freed = false
	w.goOn()
	if w.server.slots.all.Full() {
		return
	}
	for _, other := range w.server.workers {
		if other != w && other.wanting.Load() && other.wanting.Swap(false) {
			other.loop.Post(roomElsewhere{})
		}
	}
}

// goOn admits those who wait for a place, and accepts others, as far as there is room.
func (w *worker) goOn() {
	if !w.crowded {
		return // looking at thousands of sockets whenever a connection ends would cost more than the connection
	}
	wanting := false
	for _, socket := range w.sockets {
		w.unpark(socket)
		if socket.full && !socket.closed && !socket.deaf && !w.draining && w.room(socket) > 0 {
			w.accept(socket.index, socket)
		}
		wanting = wanting || socket.full || len(socket.parked) > 0
	}
	w.crowded = wanting
	w.wanting.Store(wanting)
}

// arrived takes a place for a new client. An accept that stands for many brings clients beyond the limit before it
// can be stopped; they keep their turn.
func (w *worker) arrived(socket *listenSocket, a arrival) {
	if len(socket.parked) > 0 || !w.takePlace(a.listener) {
		socket.parked = append(socket.parked, a)
		w.crowded = true
		return
	}
	w.place(a)
}

// place gives a client that has a place to the loop that has the most room: this one, or another.
func (w *worker) place(a arrival) {
	if other := w.server.roomier(w); other != nil {
		other.load.Add(1)
		if other.loop.Post(a) {
			return
		}
		other.load.Add(-1)
	}
	w.load.Add(1)
	w.admit(a)
}

func (w *worker) takePlace(l *Listener) bool { return w.server.slots.take(l.Slots) }

func (w *worker) givePlace(l *Listener) {
	w.server.slots.give(l.Slots)
	w.freed = true
}

// unpark admits those who wait for a place, while there are any.
func (w *worker) unpark(socket *listenSocket) {
	for len(socket.parked) > 0 && w.takePlace(socket.listener) {
		w.place(socket.unpark())
	}
}

// admit asks the ACL, and lets a client in or turns it away. Its place is taken, and it counts in this worker's load.
func (w *worker) admit(a arrival) {
	decision := a.listener.ACL.Decide(a.peer.Addr())
	if !decision.Allow && decision.Action == acl.Reset {
		w.turnAway(a, decision)
		return
	}
	index, c := w.takeConn()
	c.listener, c.peer, c.accepted, c.lastActive = a.listener, a.peer, a.at, a.at
	c.flags = flagClient
	w.loop.Attach(slotOf(index, client), a.fd)
	if !a.peer.IsValid() { // a unix socket inherits nothing from its listening socket
		keepUrgentInLine(a.fd)
	}
	if w.ending.Reason != ReasonNone {
		w.end(index, c, w.ending)
		return
	}
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
		} else if !socket.closed {
			w.closeListener(socket.index, w.conn(socket.index))
		}
	}
}

// closeListener takes the clients that already wait in the socket's queue (closing it would reset them), then closes it.
func (w *worker) closeListener(index uint32, c *conn) {
	socket := c.socket
	switch w.takeQueued(socket) {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		w.loop.SetTimer(index, w.loop.Now()+int64(acceptRetry))
		return // the others wait until there are descriptors
	}
	w.loop.Close(slotOf(index, client))
	socket.closed = true
	w.resumeAccept(index, c)
}

// takeQueued takes the clients who wait in a socket's queue, and returns the error that ended it: EAGAIN when there are no
// more. The socket is non-blocking afterwards.
func (w *worker) takeQueued(socket *listenSocket) unix.Errno {
	if errno := rawsys.SetNonblock(socket.fd, true); errno != 0 { // a security profile forbids it: accept would block
		return errno
	}
	for failed := 0; ; {
		fd, peer, errno := rawsys.Accept(socket.fd, w.loop.SocketFlags())
		if eventloop.OfConnection(errno) && failed < backlog { // more are not of connections that have queued up
			failed++
			continue
		}
		if errno != 0 {
			return errno
		}
		w.arrived(socket, arrival{fd: fd, peer: peer, listener: socket.listener, at: w.loop.Now()})
	}
}

// forgetListener is reached when a closed listener's last client has found a place.
func (w *worker) forgetListener(index uint32, c *conn) {
	socket := c.socket
	w.loop.StopTimer(index)
	w.sockets = slices.DeleteFunc(w.sockets, func(s *listenSocket) bool { return s == socket })
	w.freeConn(index, c)
	w.server.listenerClosed()
}
