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

// acceptRetry is the pause after descriptors or connection slots have run out. Clients hardly
// notice it, and it costs next to nothing.
const acceptRetry = 50 * time.Millisecond

// listenSocket is one listening socket on one worker.
type listenSocket struct {
	worker   *worker
	listener *Listener
	bound    *bound
	lingers  bool // once closing, it waits for handshakes to complete; see syn.go
	fd       int
	backlog  int // of listen(2)
	index    uint32
	state    listenState
	// parked are clients that were accepted when no slot was free. They get the next free slots, in
	// order of arrival.
	parked []arrival
}

// listenState is what a listening socket does.
type listenState uint8

const (
	listenNew       listenState = iota // the loop is not running yet
	listenAccepting                    // an accept is in flight
	listenFull                         // no slot is free: retried by the timer, or when a slot is freed
	listenPaused                       // accept has failed: retried by the timer
	listenShutting                     // to be shut once the accept in flight has been cancelled
	listenShut                         // bound, but refuses clients; see unlisten.go
	listenReopening                    // was shut, and listen(2) has failed: retried by the timer
	listenHolding                      // to be held once the accept in flight has been cancelled
	listenHeld                         // open, but clients wait in its accept queue; see pause.go
	listenClosing                      // to be closed once the clients in its accept queue have been accepted
	listenClosed                       // closed; it may still have parked clients
)

// arrival is an accepted client that is not a connection yet.
type arrival struct {
	fd       int
	client   netip.AddrPort
	listener *Listener
	header   bool    // the client is known only by the PROXY protocol header that it sends first
	at       int64   // loop clock
	limited  bool    // counts as one of its client; see clientlimit.go
	traced   *traced // nil unless its steps are passed on
	shadow   string  // the first shadow rule that it has met
}

// addSocket registers a listening socket. startAccepting follows once the loop runs: before that,
// io_uring takes no more submissions than fit into its queue.
func (w *worker) addSocket(fd int, b *bound, l *Listener) *listenSocket {
	s := &listenSocket{worker: w, listener: l, bound: b, fd: fd, backlog: b.bind.Options.Queue()}
	s.index = w.startTask(s)
	w.sockets = append(w.sockets, s)
	w.loop.Attach(s.slot(), fd)
	w.server.listening.Add(1)
	return s
}

// startAccepting accepts on the sockets that were added before the loop ran.
func (w *worker) startAccepting() {
	for _, s := range w.sockets {
		if s.state == listenNew {
			s.applyShut()
		}
		if s.state != listenNew {
			continue
		}
		if listens, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens == 0 {
			s.state = listenShut // by the old process; see unlisten.go
			s.reopen()
			continue
		}
		s.accept()
	}
}

func (s *listenSocket) slot() eventloop.Slot { return slotOf(s.index, clientEnd) }

// setTimer makes expire run after acceptRetry.
func (s *listenSocket) setTimer() {
	s.worker.loop.SetTimer(s.index, s.worker.loop.Now()+int64(acceptRetry))
}

// accept starts accepting clients, or waits until a slot is free.
func (s *listenSocket) accept() {
	w := s.worker
	if w.held {
		s.hold()
		return
	}
	if room := s.room(); room > 0 {
		s.state = listenAccepting
		w.loop.StopTimer(s.index)
		w.loop.Accept(s.slot(), room)
		return
	}
	// While a dial waits for a descriptor, the reason is logged there; see waitForResources.
	if s.state != listenFull && w.server.retrying.Load() == 0 {
		w.server.limitReached(s.listener)
		w.listenerCounters(s.listener).pauses[PauseSlots].add(1)
	}
	s.state = listenFull
	w.crowded = true
	w.wanting.Store(true)
	s.setTimer()
}

// room is the number of clients that may be accepted now. It is 0 while an admitted client waits
// for a descriptor for its backend connection: another client would take that descriptor.
func (s *listenSocket) room() int {
	server := s.worker.server
	if len(s.parked) > 0 || server.retrying.Load() > 0 {
		return 0
	}
	return server.slots.room(s.listener.Slots)
}

// complete implements task: a client was accepted, or accepting has ended.
func (s *listenSocket) complete(done *eventloop.Completion) {
	w := s.worker
	failed := false
	switch done.Err {
	case 0:
		w.arrive(s, arrival{fd: done.FD, client: done.Peer, listener: s.listener, at: w.loop.Now()})
	case unix.ECANCELED:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		w.server.acceptFailed(s.listener, done.Err)
		w.listenerCounters(s.listener).pauses[PauseResources].add(1)
		w.endHeld()
		failed = true
	default:
		// An error of the listening socket, which may last: the loop handles errors of one client.
		w.listenerCounters(s.listener).pauses[PauseError].add(1)
		failed = true
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

// expire implements task. The timer is needed because other loops announce freed slots at most once
// per pause, and nothing announces freed descriptors.
func (s *listenSocket) expire() {
	s.unpark()
	switch s.state {
	case listenFull, listenPaused:
		s.accept()
	case listenShut, listenHeld:
		s.waitForSlots()
	case listenReopening:
		s.reopen()
	case listenShutting:
		if !s.worker.loop.Busy(s.slot()) {
			s.shut()
		}
	case listenClosing:
		s.close()
	case listenClosed:
		if len(s.parked) > 0 {
			s.setTimer()
			return
		}
		s.worker.forgetSocket(s)
	case listenNew, listenAccepting, listenHolding:
	}
}

// park keeps a client until a slot is free. A multishot accept may bring clients beyond the limit
// before it can be cancelled; they keep their position.
func (s *listenSocket) park(a arrival) {
	s.parked = append(s.parked, a)
	s.worker.crowded = true
}

// unpark admits parked clients while slots are free.
func (s *listenSocket) unpark() {
	for len(s.parked) > 0 && s.worker.server.slots.take(s.parked[0].listener.Slots) {
		s.worker.place(s.nextParked())
	}
}

// nextParked removes and returns the client that was parked first.
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
	w.endHeld()
	for _, s := range slices.Clone(w.sockets) {
		s.startClosing()
	}
}

// startClosing closes the socket once no accept is in flight.
func (s *listenSocket) startClosing() {
	switch {
	case s.state == listenClosed:
	case s.worker.loop.Busy(s.slot()):
		s.state = listenClosing
		s.worker.loop.CancelRead(s.slot())
	default:
		s.close()
	}
}

// close accepts the clients that already wait in the socket's accept queue, because closing the
// socket would reset them. Then it closes the socket.
func (s *listenSocket) close() {
	s.endQueue()
	s.state = listenClosing
	switch s.takeQueued() {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		s.setTimer()
		return // the remaining clients wait for descriptors
	}
	if s.lingers {
		s.lingers = false
		s.worker.loop.SetTimer(s.index, s.worker.loop.Now()+int64(lastHandshakes))
		return
	}
	s.worker.loop.Close(s.slot())
	s.state = listenClosed
	s.expire()
}

// takeQueued accepts the clients in the socket's accept queue. It returns the error that ended
// this: EAGAIN when the queue is empty. Afterwards, the socket is non-blocking.
func (s *listenSocket) takeQueued() unix.Errno {
	w := s.worker
	// A security profile may forbid this. Then accept would block, so it is not called.
	if errno := rawsys.SetNonblock(s.fd, true); errno != 0 {
		return errno
	}
	for failed := 0; ; {
		fd, peer, errno := rawsys.Accept(s.fd, w.loop.SocketFlags())
		// No more than Backlog connections can have queued up, so further errors are not theirs.
		if eventloop.OfConnection(errno) && failed < listen.Backlog {
			failed++
			continue
		}
		if errno != 0 {
			return errno
		}
		w.arrive(s, arrival{fd: fd, client: peer, listener: s.listener, at: w.loop.Now()})
	}
}

// forgetSocket forgets a closed socket whose last parked client has got a slot.
func (w *worker) forgetSocket(s *listenSocket) {
	w.endTask(s.index)
	w.sockets = slices.DeleteFunc(w.sockets, func(other *listenSocket) bool { return other == s })
	w.server.listening.Add(-1)
}
