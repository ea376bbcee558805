package proxy

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// shutReasons are why a listener is closed to new clients while its sockets stay open. It reopens
// when none is left.
type shutReasons uint8

const (
	shutUnlisten shutReasons = 1 << iota // no backend can serve; see SetListening
	shutDrain                            // see DrainListener
)

// SetListening closes a listener to new clients while no backend can serve them, and reopens it.
// While it is closed, the kernel refuses new clients, so that a load balancer in front notices.
// Existing connections stay. Only TCP sockets are closed: a unix socket keeps listening. l may be
// that of another State: the listener is found by its name.
//
// The sockets stay open and bound, so that no other process can take the address: shutdown(2)
// returns a listening TCP socket to its state before listen(2).
func (s *Server) SetListening(l *Listener, on bool) {
	s.tell(func(w *worker) { w.setListening(l, on) })
}

func (w *worker) setListening(l *Listener, on bool) { w.setShut(l.Name, shutUnlisten, !on) }

// DrainListener closes a listener, found by its name, to new clients as SetListening does, or ends
// that. The two combine: the listener is open only if neither closes it. Sockets that the listener
// gets later are closed too.
//
// A unix socket cannot be shut and reopened: shutdown(2) is for good there. It keeps accepting, and
// its clients are turned away, with [ReasonDrained] in their records.
func (s *Server) DrainListener(name string, on bool) {
	s.tell(func(w *worker) { w.setShut(name, shutDrain, on) })
}

// setShut adds a reason for a listener to be closed, or removes it.
func (w *worker) setShut(name string, reason shutReasons, on bool) {
	if w.shut == nil {
		w.shut = make(map[string]shutReasons)
	}
	if on {
		w.shut[name] |= reason
		if of := w.server.ledger.Load().listeners[name]; of != nil && reason == shutDrain {
			of[w.number].tarpit.end()
		}
	} else if w.shut[name] &^= reason; w.shut[name] == 0 {
		delete(w.shut, name)
	}
	for _, s := range w.sockets {
		if s.listener.Name == name {
			s.applyShut()
		}
	}
}

// applyShut shuts or reopens a TCP socket as its listener demands.
func (s *listenSocket) applyShut() {
	if s.worker.held || rawsys.IsUnix(s.fd) { // held: see resumeAll
		return
	}
	on := s.worker.shut[s.listener.Name] == 0
	switch s.state {
	case listenShutting, listenShut:
		if on {
			s.reopen()
		}
	case listenNew, listenAccepting, listenFull, listenPaused, listenReopening:
		if !on {
			s.startShutting()
		}
	case listenHolding, listenHeld, listenClosing, listenClosed:
	}
}

// refuses reports whether the clients of a unix socket are turned away because its listener is
// drained.
func (s *listenSocket) refuses() bool {
	w := s.worker
	return len(w.shut) > 0 && w.shut[s.listener.Name]&shutDrain != 0 && rawsys.IsUnix(s.fd)
}

// startShutting shuts the socket once no accept is in flight.
func (s *listenSocket) startShutting() {
	s.state = listenShutting
	loop := s.worker.loop
	loop.StopTimer(s.index)
	if loop.Busy(s.slot()) {
		loop.CancelRead(s.slot()) // its completion continues with shut
		return
	}
	s.shut()
}

// shut accepts the clients that already wait in the socket's accept queue, because they would be
// reset. Then it makes the kernel refuse new ones. If clients in the queue lack a descriptor, shut
// waits for one when the listener is drained. When no backend can serve them, they are reset.
func (s *listenSocket) shut() {
	s.dropSYNs()
	switch s.takeQueued() {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		if s.worker.shut[s.listener.Name]&shutUnlisten == 0 {
			s.setTimer()
			return
		}
	}
	// Without this, another process could listen on the address meanwhile: that takes SO_REUSEADDR
	// on both sides.
	rawsys.SetInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	rawsys.Shutdown(s.fd, unix.SHUT_RD)
	s.takeSYNs()
	s.state = listenShut
	s.waitForSlots()
}

// waitForSlots makes parked clients look for slots again after a pause.
func (s *listenSocket) waitForSlots() {
	if len(s.parked) > 0 {
		s.worker.wanting.Store(true)
		s.setTimer()
	}
}

// reopen listens and accepts again.
func (s *listenSocket) reopen() {
	w := s.worker
	if w.loop.Busy(s.slot()) {
		s.state = listenAccepting
		// The cancelled accept has not ended yet; its completion starts another one.
		return
	}
	rawsys.SetInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // as on existing connections
	s.takeSYNs()                                               // shut may have waited for descriptors
	if errno := rawsys.Listen(s.fd, s.backlog); errno != 0 {
		if s.state != listenReopening {
			w.server.log.Error("cannot reopen listener, retrying", "listener", s.listener.Name, "error", errno.Error())
		}
		s.state = listenReopening
		s.setTimer()
		return
	}
	rawsys.SetNonblock(s.fd, w.loop.SocketFlags()&unix.SOCK_NONBLOCK != 0)
	s.accept()
}
