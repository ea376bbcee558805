package proxy

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/listen"
)

// bound is an address of a listener with its listening sockets.
type bound struct {
	listener *Listener
	*listen.Sockets
}

// bindAll opens the listening sockets of all listeners.
func (s *Server) bindAll() error {
	opener := listen.Opener{Shards: len(s.workers), Flags: s.workers[0].loop.SocketFlags(), Prepare: s.prepare}
	var all []listen.Bind
	for _, l := range s.state.Listeners {
		all = append(all, l.Binds...)
	}
	opener.IPv4 = listen.IPv4Ports(all)
	for _, l := range s.state.Listeners {
		for _, bind := range l.Binds {
			var inherited []int
			if s.inherited != nil {
				inherited = s.inherited(l.Name, bind)
			}
			sockets, err := opener.Open(bind, l.Access, inherited...)
			if err != nil {
				err = fmt.Errorf("listener %s: %w", l.Name, err)
				if bind.Place != "" {
					err = fmt.Errorf("%s: %w", bind.Place, err)
				}
				return err
			}
			s.bound = append(s.bound, bound{l, sockets})
		}
	}
	return nil
}

// prepare sets the options that accepted sockets inherit from their listening socket.
func (s *Server) prepare(fd int) {
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	keepUrgentInLine(fd)
	s.keepAlive.set(fd)
}

// keepUrgentInLine keeps the urgent byte in the stream (SO_OOBINLINE, socket(7)). Without it, a
// receive skips that byte, and it is lost. The other side gets it as an ordinary byte.
func keepUrgentInLine(fd int) { rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) }

func (s *Server) unlinkAll() {
	for _, b := range s.bound {
		b.Unlink()
	}
}
