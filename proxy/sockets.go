package proxy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/listen"
)

// ListeningSocket is an address with its listening sockets, for another process.
type ListeningSocket struct {
	Listener string
	Bind     listen.Bind // as configured
	Addr     listen.Bind // with the port that is in use
	FDs      []int       // duplicates, which belong to the caller, with FD_CLOEXEC
	KeepFile bool        // as Options.KeepFile has said
	// Shut: SetListening has closed them. The process that takes them has to call listen(2) before
	// it passes them to Options.Inherited.
	Shut bool
}

// ListeningSockets duplicates all listening sockets. The caller closes the duplicates. While one is
// open, the address stays in use, and clients can wait in the queue, even after the Server has
// closed its own descriptor. File status flags such as O_NONBLOCK are common to both (dup(2)).
func (s *Server) ListeningSockets() ([]ListeningSocket, error) {
	s.mu.Lock() // while it is held, no listening socket is closed
	defer s.mu.Unlock()
	sockets, err := s.openSockets()
	if err != nil {
		return nil, err
	}
	all := make([]ListeningSocket, 0, len(s.bound))
	for _, b := range s.bound {
		one := ListeningSocket{Listener: b.listener.Name, Bind: b.bind, Addr: b.Bind, KeepFile: b.keepFile,
			Shut: sockets[b].shut}
		for _, fd := range sockets[b].fds {
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) // 0 to 2 are the standard streams
			if err != nil {
				CloseSockets(append(all, one))
				return nil, fmt.Errorf("cannot duplicate the listening socket of %s: %w", b.Bind, err)
			}
			one.FDs = append(one.FDs, dup)
		}
		all = append(all, one)
	}
	return all, nil
}

// CloseSockets closes the descriptors of all sockets.
func CloseSockets(all []ListeningSocket) {
	for _, one := range all {
		for _, fd := range one.FDs {
			_ = unix.Close(fd)
		}
	}
}

// openSockets are the listening sockets of an address.
type openSockets struct {
	fds  []int
	shut bool
}

// openSockets returns all listening sockets.
func (s *Server) openSockets() (map[*bound]openSockets, error) {
	sockets := make(map[*bound]openSockets)
	if s.unlinked || s.stopped() {
		return nil, errStopping
	}
	if !s.running {
		for _, b := range s.bound {
			sockets[b] = openSockets{fds: b.FDs()}
		}
		return sockets, nil
	}
	answers, ok := ask(s, (*worker).openSockets)
	if !ok {
		return nil, errStopping
	}
	for _, answer := range answers {
		for b, of := range answer {
			all := sockets[b]
			all.fds, all.shut = append(all.fds, of.fds...), all.shut || of.shut
			sockets[b] = all
		}
	}
	return sockets, nil
}

// openSockets are this worker's listening sockets that are not being closed.
func (w *worker) openSockets() map[*bound]openSockets {
	all := make(map[*bound]openSockets)
	for _, s := range w.sockets {
		if s.state == listenClosing || s.state == listenClosed {
			continue
		}
		of := all[s.bound]
		of.fds = append(of.fds, s.fd)
		of.shut = s.state == listenShutting || s.state == listenShut || s.state == listenReopening
		all[s.bound] = of
	}
	return all
}
