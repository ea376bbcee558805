package proxy

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/listen"
)

// acceptRetry is the pause after descriptors or connection slots have run out: short enough that clients hardly notice,
// long enough to cost nothing.
const acceptRetry = 50 * time.Millisecond

// listenSocket is one listening socket on one worker.
type listenSocket struct {
	worker   *worker
	listener *Listener
	fd       int
	index    uint32
	state    listenState
	// parked are clients that were accepted when no slot was free. They are the first to get one.
	parked []arrival
}

// listenState is what a listening socket does.
type listenState uint8

const (
	listenNew       listenState = iota // the loop does not run yet
	listenAccepting                    // an accept is in flight
	listenFull                         // no slot is free: it looks for one when its timer is due or a slot is freed
	listenPaused                       // accept has failed; it is tried again when the timer is due
	listenShutting                     // it is to be shut once the accept in flight has been cancelled
	listenShut                         // it is bound and refuses clients; see unlisten.go
	listenReopening                    // it was shut, and listen(2) has failed; it is tried again when the timer is due
	listenClosing                      // it is to be closed once the clients in its queue have been taken
	listenClosed                       // only parked clients are left
)

// arrival is an accepted client that is not a connection yet.
type arrival struct {
	fd       int
	peer     netip.AddrPort
	listener *Listener
	at       int64 // loop clock
}

// addSocket takes a listening socket. startAccepting follows when the loop runs: before, io_uring takes no more
// submissions than fit its queue.
func (w *worker) addSocket(fd int, l *Listener) {
	s := &listenSocket{worker: w, listener: l, fd: fd}
	s.index = w.startTask(s)
	w.sockets = append(w.sockets, s)
	w.loop.Attach(s.slot(), fd)
}

// startAccepting accepts on the sockets that wait for the loop to run.
func (w *worker) startAccepting() {
	for _, s := range w.sockets {
		if s.state == listenNew {
			s.accept()
		}
	}
}

func (s *listenSocket) slot() eventloop.Slot { return slotOf(s.index, clientEnd) }

// setTimer has expire called after acceptRetry.
func (s *listenSocket) setTimer() {
	s.worker.loop.SetTimer(s.index, s.worker.loop.Now()+int64(acceptRetry))
}

// accept accepts clients, or waits until a slot is free.
func (s *listenSocket) accept() {
	w := s.worker
	if room := s.room(); room > 0 {
		s.state = listenAccepting
		w.loop.StopTimer(s.index)
		w.loop.Accept(s.slot(), room)
		return
	}
	if s.state != listenFull && w.server.retrying.Load() == 0 { // else descriptors are short; see waitForResources
		w.server.limitReached(s.listener)
	}
	s.state = listenFull
	w.crowded = true
	w.wanting.Store(true)
	s.setTimer()
}

// room is the number of clients that may be accepted. It is 0 while an admitted client waits for a descriptor for its
// backend: another client would take it.
func (s *listenSocket) room() int {
	server := s.worker.server
	if len(s.parked) > 0 || server.retrying.Load() > 0 {
		return 0
	}
	return server.slots.room(s.listener.Slots)
}

// complete implements task: a client has come, or accepting has ended.
func (s *listenSocket) complete(done *eventloop.Completion) {
	w := s.worker
	failed := false
	switch done.Err {
	case 0:
		w.arrive(s, arrival{fd: done.FD, peer: done.Peer, listener: s.listener, at: w.loop.Now()})
	case unix.ECANCELED:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		w.server.acceptFailed(s.listener, done.Err)
		failed = true
	default:
		failed = true // an error of the listening socket, which may last: the event loop keeps those of one client
	}
	if done.More {
		if s.room() <= w.loop.AcceptsAhead() {
			w.loop.CancelRead(done.Slot)
		}
		return
	}
	switch {
	case s.state == listenClosing:
		s.close()
	case s.state == listenShutting:
		s.shut()
	case failed:
		s.state = listenPaused
		s.setTimer()
	default:
		s.accept()
	}
}

// expire implements task. Slots that become free on other loops are announced at most once a pause, and descriptors not
// at all.
func (s *listenSocket) expire() {
	s.unpark()
	switch s.state {
	case listenFull, listenPaused:
		s.accept()
	case listenShut:
		s.waitForSlots()
	case listenReopening:
		s.reopen()
	case listenClosing:
		s.close()
	case listenClosed:
		if len(s.parked) > 0 {
			s.setTimer()
			return
		}
		s.worker.forgetSocket(s)
	case listenNew, listenAccepting, listenShutting:
	}
}

// park keeps a client until a slot is free. An accept that stands for many brings clients beyond the limit before it can
// be stopped; they keep their turn.
func (s *listenSocket) park(a arrival) {
	s.parked = append(s.parked, a)
	s.worker.crowded = true
}

// unpark admits parked clients while slots are free.
func (s *listenSocket) unpark() {
	for len(s.parked) > 0 && s.worker.server.slots.take(s.listener.Slots) {
		s.worker.place(s.nextParked())
	}
}

// nextParked removes the client that has been parked longest.
func (s *listenSocket) nextParked() arrival {
	a := s.parked[0]
	if s.parked = s.parked[1:]; len(s.parked) == 0 {
		s.parked = nil
	}
	return a
}

// stopAccepting closes all listening sockets of this worker.
func (w *worker) stopAccepting() {
	w.draining = true
	for _, s := range slices.Clone(w.sockets) {
		switch {
		case s.state == listenClosed:
		case w.loop.Busy(s.slot()):
			s.state = listenClosing
			w.loop.CancelRead(s.slot())
		default:
			s.close()
		}
	}
}

// close takes the clients that already wait in the socket's queue (closing it would reset them), then closes it.
func (s *listenSocket) close() {
	s.state = listenClosing
	switch s.takeQueued() {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		s.setTimer()
		return // the others wait until there are descriptors
	}
	s.worker.loop.Close(s.slot())
	s.state = listenClosed
	s.expire()
}

// takeQueued takes the clients that wait in the socket's queue, and returns the error that ended it: EAGAIN when no more
// are there. The socket is non-blocking afterwards.
func (s *listenSocket) takeQueued() unix.Errno {
	w := s.worker
	if errno := rawsys.SetNonblock(s.fd, true); errno != 0 { // a security profile forbids it: accept would block
		return errno
	}
	for failed := 0; ; {
		fd, peer, errno := rawsys.Accept(s.fd, w.loop.SocketFlags())
		if eventloop.OfConnection(errno) && failed < listen.Backlog { // more are not of connections that have queued up
			failed++
			continue
		}
		if errno != 0 {
			return errno
		}
		w.arrive(s, arrival{fd: fd, peer: peer, listener: s.listener, at: w.loop.Now()})
	}
}

// forgetSocket is reached when the last parked client of a closed socket has found a slot.
func (w *worker) forgetSocket(s *listenSocket) {
	w.endTask(s.index)
	w.sockets = slices.DeleteFunc(w.sockets, func(other *listenSocket) bool { return other == s })
	w.server.listening.Add(-1)
}
