package systemd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/listen"
)

// socket is a listening socket that the service manager has passed.
type socket struct {
	fd     int
	name   string // FileDescriptorName= of the socket unit, or the listener of a stored socket
	stored bool   // it comes from the file descriptor store
	inode  uint64
	wrong  string // why it cannot be used; "" if it can

	// What Assign finds.
	listener string
	bind     listen.Bind
}

func (s *socket) setName(name string) { s.name, s.stored = storedListener(name) }

func (s *socket) String() string { return fmt.Sprintf("descriptor %d (%s) from systemd", s.fd, s.name) }

// look finds out what the descriptor is.
func (s *socket) look() error {
	var stat unix.Stat_t
	if err := unix.Fstat(s.fd, &stat); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	unix.CloseOnExec(s.fd)
	s.inode = stat.Ino
	kind, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	listens, _ := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case err != nil:
		s.wrong = "is not a socket"
	case kind != unix.SOCK_STREAM:
		s.wrong = "is not a stream socket"
	case listens == 0 && (!s.stored || !s.reopen()):
		s.wrong = "does not listen"
	}
	return nil
}

// reopen makes a stored socket listen again that was closed for new clients when the process ended;
// see proxy.Server.SetListening.
func (s *socket) reopen() bool {
	rawsys.SetInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	return rawsys.Listen(s.fd, listen.Backlog) == 0
}

// Listener is a listener of the configuration.
type Listener struct {
	Name  string
	Binds []listen.Bind
}

// Assign finds the listener of each socket. A socket whose name is that of a listener belongs to
// it. Any other one belongs to the listener that binds to its address. A socket of a socket unit
// without a listener is an error, because its clients would wait forever. A stored one is closed
// and removed from the store: the configuration has changed since. Assign returns the names of the
// listeners of those.
func (m *Manager) Assign(listeners []Listener) (dropped []string, err error) {
	if m == nil {
		return nil, nil
	}
	var kept []*socket
	seen := make(map[uint64]bool) // a socket unit may have passed a stored socket too
	for _, stored := range []bool{false, true} {
		for _, s := range m.sockets {
			switch {
			case s.stored != stored:
			case seen[s.inode]:
				_ = unix.Close(s.fd)
			case s.assign(listeners):
				seen[s.inode] = true
				kept = append(kept, s)
			case stored:
				_ = unix.Close(s.fd)
				dropped = append(dropped, s.name)
			default:
				return nil, s.misfit(listeners)
			}
		}
	}
	m.sockets = kept
	return dropped, nil
}

// assign finds the listener. An address with the port in it is preferred to one with port 0.
func (s *socket) assign(listeners []Listener) bool {
	if s.wrong != "" {
		return false
	}
	named := s.named(listeners)
	for _, anyPort := range []bool{false, true} {
		for _, l := range listeners {
			if (named || s.stored) && l.Name != s.name {
				continue
			}
			for _, bind := range l.Binds {
				if anyPort != (!bind.IsUnix() && bind.Addr.Port() == 0) || s.fileGone(bind) {
					continue
				}
				if _, same, err := listen.IsAt(s.fd, bind); err == nil && same {
					bind.Place = ""
					s.listener, s.bind = l.Name, bind
					return true
				}
			}
		}
	}
	return false
}

// named reports whether the socket has the name of a listener.
func (s *socket) named(listeners []Listener) bool {
	for _, l := range listeners {
		if l.Name == s.name {
			return true
		}
	}
	return false
}

// fileGone reports whether the file of a stored unix socket has been removed. No client can reach
// the socket then.
func (s *socket) fileGone(bind listen.Bind) bool {
	if !s.stored || !bind.IsUnix() || bind.Path[0] == '@' {
		return false
	}
	_, err := os.Lstat(bind.Path)
	return err != nil
}

// misfit says why a socket of a socket unit cannot be used.
func (s *socket) misfit(listeners []Listener) error {
	if s.wrong != "" {
		return fmt.Errorf("%s %s: write ListenStream= and Accept=no in the socket unit", s, s.wrong)
	}
	at, _, err := listen.IsAt(s.fd, listen.Bind{})
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	if s.named(listeners) {
		return fmt.Errorf("%s listens on %s, but listener %s has no such bind: "+
			"write the same address in the bind and in ListenStream= of the socket unit", s, at, s.name)
	}
	return fmt.Errorf("%s listens on %s, but no listener has that bind: "+
		"add it to a listener, or remove it from the socket unit", s, at)
}

// Inherited returns the sockets of an address, which then belong to the caller. It is meant for
// proxy.Options.
func (m *Manager) Inherited(listener string, bind listen.Bind) (fds []int) {
	if m == nil {
		return nil
	}
	bind.Place = ""
	for _, s := range m.sockets {
		if s.listener == listener && s.bind == bind {
			fds = append(fds, s.fd)
		}
	}
	return fds
}

// FromUnit reports whether a socket unit has opened the sockets of an address. It keeps them open,
// and removes the file of a unix socket itself.
func (m *Manager) FromUnit(listener string, bind listen.Bind) bool {
	if m == nil {
		return false
	}
	bind.Place = ""
	for _, s := range m.sockets {
		if s.listener == listener && s.bind == bind && !s.stored {
			return true
		}
	}
	return false
}
