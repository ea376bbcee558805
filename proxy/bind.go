package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

// backlog of listening sockets; the kernel lowers it to net.core.somaxconn.
const backlog = 65535

// The kernel takes io_uring rings apart after their process has ended, in a worker of its own, and until then the ring
// keeps the listening sockets open on which it accepted: for some milliseconds after a SIGKILL the addresses are in use.
const (
	bindPatience = 500 * time.Millisecond // for all addresses together
	bindRetry    = 5 * time.Millisecond
)

// boundListener is one address of a listener, with its listening sockets: for TCP one per worker, between which the
// kernel spreads new clients (SO_REUSEPORT, socket(7)); for a unix socket, which has no such thing, one.
type boundListener struct {
	listener *Listener
	bind     Bind // with the port that is in use
	fds      []int
	file     os.FileInfo // of a unix socket in the file system
}

// take returns the listening socket for worker i, which is the worker's from then on; -1 when there is none.
func (b *boundListener) take(i int) int {
	if i >= len(b.fds) {
		return -1
	}
	fd := b.fds[i]
	b.fds[i] = -1
	return fd
}

// close closes the sockets that no worker has taken.
func (b *boundListener) close() {
	for _, fd := range b.fds {
		if fd >= 0 {
			rawsys.Close(fd)
		}
	}
}

// unlink removes a unix socket from the file system, unless the file is a successor's by now. Called while the socket
// is open, so that no other file can have its inode number.
func (b *boundListener) unlink() {
	if b.file == nil {
		return
	}
	if now, err := os.Lstat(b.bind.Address); err == nil && os.SameFile(b.file, now) {
		_ = os.Remove(b.bind.Address)
	}
}

func (s *Server) unlinkAll() {
	for i := range s.bound {
		s.bound[i].unlink()
	}
}

// bindAll opens the listening sockets of all listeners.
func (s *Server) bindAll() error {
	s.anyIPv4 = s.state.anyIPv4Ports()
	deadline := time.Now().Add(bindPatience)
	for _, l := range s.state.Listeners {
		for _, bind := range l.Binds {
			b, err := s.bind(bind, l.Access)
			for errors.Is(err, unix.EADDRINUSE) && time.Now().Before(deadline) {
				time.Sleep(bindRetry)
				b, err = s.bind(bind, l.Access)
			}
			if err != nil {
				err = fmt.Errorf("listener %s: cannot listen on %s: %w", l.Name, bind, explainBind(err))
				if bind.Place != "" {
					err = fmt.Errorf("%s: %w", bind.Place, err)
				}
				return err
			}
			b.listener = l
			s.bound = append(s.bound, b)
		}
	}
	return nil
}

// explainBind adds what to do about the usual errors of bind(2).
func explainBind(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w: another program listens there; stop it or choose another address", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: ports below 1024 and other users' directories need root or the capability for it", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this machine has no such network interface; write the name of an interface after %%", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has no such address; write one it has, or none for all", err)
	}
	return err
}

func (s *Server) bind(bind Bind, access *Access) (boundListener, error) {
	if bind.Network == "unix" {
		fd, err := s.bindUnix(bind.Address, access)
		b := boundListener{bind: bind, fds: []int{fd}}
		if err == nil && bind.Address[0] != '@' {
			b.file, _ = os.Lstat(bind.Address)
		}
		return b, err
	}
	return s.bindTCP(bind)
}

// bindTCP opens a listening socket for each worker.
func (s *Server) bindTCP(bind Bind) (boundListener, error) {
	addr, everywhere, err := parseBind(bind.Address)
	if err != nil {
		return boundListener{}, err
	}
	if addr.Port() == 0 {
		// The kernel gives up a port that it chose itself when a socket stops to listen.
		chosen, err := s.bindSocket(addr, everywhere, false)
		if err != nil {
			return boundListener{}, err
		}
		defer rawsys.Close(chosen)
		port, err := localPort(chosen)
		if err != nil {
			return boundListener{}, err
		}
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	// SO_REUSEPORT from the start would let a second l4proxy of the same user share the port unnoticed: the first socket
	// is opened without it, and only then lets the others join. It stays one of them. Closed, it would reset the
	// clients who had connected meanwhile.
	first, err := s.listenTCP(addr, everywhere, false)
	if err != nil {
		return boundListener{}, err
	}
	b := boundListener{fds: []int{first}}
	port, err := localPort(first)
	if err == nil {
		if errno := rawsys.SetInt(first, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 {
			err = errno
		}
	}
	addr = netip.AddrPortFrom(addr.Addr(), port)
	b.bind = Bind{Network: "tcp", Address: addr.String(), Place: bind.Place}
	for err == nil && len(b.fds) < len(s.workers) {
		var fd int
		if fd, err = s.listenTCP(addr, everywhere, true); err == nil {
			b.fds = append(b.fds, fd)
		}
	}
	if err != nil {
		b.close()
		return boundListener{}, err
	}
	return b, nil
}

// parseBind reads host:port with a numeric host. No host means every address of the machine, of both families.
func parseBind(address string) (addr netip.AddrPort, everywhere bool, err error) {
	if len(address) > 0 && address[0] == ':' {
		port, err := strconv.ParseUint(address[1:], 10, 16)
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), true, err
	}
	addr, err = netip.ParseAddrPort(address)
	return addr, false, err
}

// listenTCP makes a listening TCP socket; with shared, one with SO_REUSEPORT.
func (s *Server) listenTCP(addr netip.AddrPort, everywhere, shared bool) (int, error) {
	fd, err := s.bindSocket(addr, everywhere, shared)
	if err != nil {
		return -1, err
	}
	// Listening finds out what binding does not: with SO_REUSEADDR two sockets may be bound, but not listen.
	if err := unix.Listen(fd, backlog); err != nil {
		rawsys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindSocket makes a TCP socket bound to addr.
func (s *Server) bindSocket(addr netip.AddrPort, everywhere, shared bool) (fd int, err error) {
	scope, err := eventloop.Scope(addr.Addr())
	if err != nil {
		return -1, err
	}
	sa := rawsys.InetSockaddr(addr, scope)
	fd, errno := rawsys.Socket(sa.Family(), unix.SOCK_STREAM|s.workers[0].loop.SocketFlags(), 0)
	if errno == unix.EAFNOSUPPORT && everywhere { // a machine without IPv6
		sa = rawsys.InetSockaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), 0)
		fd, errno = rawsys.Socket(sa.Family(), unix.SOCK_STREAM|s.workers[0].loop.SocketFlags(), 0)
	}
	if errno != 0 {
		return -1, errno
	}
	opened := fd // a return with an error sets fd
	defer func() {
		if err != nil {
			rawsys.Close(opened)
		}
	}()
	if sa.Family() == unix.AF_INET6 {
		v6only := 0
		if s.anyIPv4[addr.Port()] { // then [::] is IPv6 only
			v6only = 1
		}
		rawsys.SetInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
	}
	if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); errno != 0 {
		return -1, errno
	}
	if shared {
		if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 {
			return -1, errno
		}
	}
	// Accepted sockets inherit these.
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	keepUrgentInLine(fd)
	s.keepAlive.set(fd)
	if errno := sa.Bind(fd); errno != 0 {
		return -1, errno
	}
	return fd, nil
}

// keepUrgentInLine keeps the urgent byte in the stream (SO_OOBINLINE, socket(7)): otherwise a receive skips it, and it is
// lost. The other side gets it as an ordinary byte.
func keepUrgentInLine(fd int) { rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) }

// anyIPv4Ports returns the ports of listeners on 0.0.0.0.
func (state *State) anyIPv4Ports() map[uint16]bool {
	ports := make(map[uint16]bool)
	for _, l := range state.Listeners {
		for _, b := range l.Binds {
			addr, _, err := parseBind(b.Address)
			if b.Network == "tcp" && err == nil && addr.Addr() == netip.IPv4Unspecified() {
				ports[addr.Port()] = true
			}
		}
	}
	return ports
}

func localPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, err
}
