package proxy

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// While another process takes over, the listening sockets of this one are held: they stay open, and
// new clients wait in their accept queues, which belong to the sockets and not to a process. So the
// other process, which has descriptors of the same sockets, accepts these clients.

// pausePoll is how often PauseAccepting looks for accepts that are still in flight.
const pausePoll = time.Millisecond

// PauseAccepting stops accepting clients on all listening sockets. It closes nothing: clients wait
// in the kernel until ResumeAccepting, or until another process accepts them. Clients that have
// been accepted are served. It returns when no accept is in flight. If ctx is done first,
// accepting continues.
func (s *Server) PauseAccepting(ctx context.Context) error {
	s.tell((*worker).holdAll)
	for why := "an event loop does not answer"; ; {
		busy, ok := askUntil(ctx, s, (*worker).accepting)
		switch {
		case !ok && ctx.Err() == nil:
			return errStopped
		case !ok:
			s.ResumeAccepting()
			return fmt.Errorf("pause accepting: %s: %w", why, context.Cause(ctx))
		case sum(busy) == 0:
			return nil
		}
		why = fmt.Sprintf("%d accepts are in flight", sum(busy))
		time.Sleep(pausePoll)
	}
}

// ResumeAccepting accepts clients again after PauseAccepting.
func (s *Server) ResumeAccepting() { s.tell((*worker).resumeAll) }

// ReleaseListening closes the listening sockets of this process after PauseAccepting, and leaves
// the clients in their queues and the files of unix sockets to the process that has taken them
// over. From then on, StopAccepting has nothing to do.
func (s *Server) ReleaseListening() {
	s.mu.Lock()
	s.unlinked = true
	s.mu.Unlock()
	s.tell(func(w *worker) {
		w.draining = true
		for _, s := range w.sockets {
			if s.state != listenClosed && !w.loop.Busy(s.slot()) {
				w.loop.Close(s.slot())
				s.state = listenClosed
				s.waitForSlots()
			}
		}
		w.forgetReleased()
	})
}

// forgetReleased forgets the closed sockets that have no parked clients.
func (w *worker) forgetReleased() {
	for i := len(w.sockets) - 1; i >= 0; i-- {
		if s := w.sockets[i]; s.state == listenClosed && len(s.parked) == 0 {
			w.forgetSocket(s)
		}
	}
}

// accepting is the number of sockets on which an accept is in flight.
func (w *worker) accepting() (n int) {
	for _, s := range w.sockets {
		if s.state != listenClosed && w.loop.Busy(s.slot()) {
			n++
		}
	}
	return n
}

func (w *worker) holdAll() {
	w.held = true
	w.endHeld()
	for _, s := range w.sockets {
		switch s.state {
		case listenAccepting:
			s.state = listenHolding
			w.loop.CancelRead(s.slot()) // its completion continues with hold
		case listenNew, listenFull, listenPaused:
			s.hold()
		case listenHolding, listenHeld, listenShutting, listenShut, listenReopening, listenClosing, listenClosed:
		}
	}
}

// hold keeps the socket open without accepting. No accept is in flight.
func (s *listenSocket) hold() {
	s.state = listenHeld
	s.worker.loop.StopTimer(s.index)
	s.waitForSlots()
}

// resumeAll also does what SetListening has asked for meanwhile. It was put off because a socket
// that is shut, or that listens again, is shut or listens in the other process too.
func (w *worker) resumeAll() {
	w.held = false
	for _, s := range w.sockets {
		shut := w.shut[s.listener.Name] != 0 && !rawsys.IsUnix(s.fd)
		switch s.state {
		case listenHolding: // the cancelled accept has not ended yet; its completion starts another one
			s.state = listenAccepting
			if shut {
				s.startShutting()
			}
		case listenHeld:
			if shut {
				s.startShutting()
				continue
			}
			// The other process may use another engine, and the flag belongs to the socket.
			rawsys.SetNonblock(s.fd, w.loop.SocketFlags()&unix.SOCK_NONBLOCK != 0)
			s.accept()
		case listenShut, listenShutting:
			if !shut {
				s.reopen()
			} else if s.state == listenShut { // the other process may have listened on it
				rawsys.Shutdown(s.fd, unix.SHUT_RD)
			}
		case listenNew, listenAccepting, listenFull, listenPaused, listenReopening, listenClosing, listenClosed:
		}
	}
}
