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
}

// ListeningSockets duplicates all listening sockets. The caller closes the duplicates. While one is
// open, the address stays in use, and clients can wait in the queue, also after the Server has
// closed its own descriptor. File status flags such as O_NONBLOCK are common to both (dup(2)).
func (s *Server) ListeningSockets() ([]ListeningSocket, error) {
	s.mu.Lock() // while it is held, no listening socket is closed
	defer s.mu.Unlock()
	fds, err := s.listeningFDs()
	if err != nil {
		return nil, err
	}
	all := make([]ListeningSocket, 0, len(s.bound))
	for _, b := range s.bound {
		one := ListeningSocket{Listener: b.listener.Name, Bind: b.bind, Addr: b.Bind, KeepFile: b.keepFile}
		for _, fd := range fds[b] {
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

// listeningFDs returns the descriptors of all listening sockets.
func (s *Server) listeningFDs() (map[*bound][]int, error) {
	fds := make(map[*bound][]int)
	if s.unlinked || s.stopped() {
		return nil, errStopping
	}
	if !s.running {
		for _, b := range s.bound {
			fds[b] = b.FDs()
		}
		return fds, nil
	}
	type socket struct {
		bound *bound
		fd    int
	}
	answers, ok := ask(s, func(w *worker) (open []socket) {
		for _, s := range w.sockets {
			if s.state != listenClosing && s.state != listenClosed {
				open = append(open, socket{s.bound, s.fd})
			}
		}
		return open
	})
	if !ok {
		return nil, errStopping
	}
	for _, answer := range answers {
		for _, s := range answer {
			fds[s.bound] = append(fds[s.bound], s.fd)
		}
	}
	return fds, nil
}
