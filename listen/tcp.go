package listen

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// openTCP opens a listening socket for each shard that has no inherited one.
func (o *Opener) openTCP(bind Bind, inherited []int) (*Sockets, error) {
	addr, everywhere := bind.tcp(), bind.everywhere()
	var opened []int
	if len(inherited) == 0 {
		first, err := o.openFirst(addr, everywhere)
		if err != nil {
			return nil, err
		}
		opened = append(opened, first)
	}
	s := &Sockets{fds: slices.Concat(opened, inherited), shards: o.Shards}
	var err error
	bound, errno := rawsys.LocalAddr(s.fds[0])
	if errno != 0 {
		err = errno
	}
	addr = netip.AddrPortFrom(addr.Addr(), bound.Port())
	s.Bind = Bind{Addr: addr, Place: bind.Place}
	if only, err := unix.GetsockoptInt(s.fds[0], unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil {
		s.IPv6Only = only != 0 && addr.Addr().IsUnspecified()
	}
	for err == nil && len(s.fds) < o.Shards {
		var fd int
		if fd, err = o.listenTCP(addr, everywhere, true); err == nil {
			opened = append(opened, fd)
			s.fds = append(s.fds, fd)
		} else if err == unix.EADDRINUSE && len(inherited) > 0 {
			// The process that opened it has another user, such as systemd, so no socket can join.
			// The inherited ones serve alone.
			err = nil
			break
		}
	}
	if err != nil {
		for _, fd := range opened {
			rawsys.Close(fd)
		}
		return nil, err
	}
	return s, nil
}

// openFirst opens the first listening socket of an address, and lets others join it.
//
// SO_REUSEPORT from the start would let a second l4proxy of the same user share the port unnoticed:
// the first socket is opened without it, and only then lets the others join. It stays one of them.
// Closed, it would reset the clients that had connected meanwhile.
func (o *Opener) openFirst(addr netip.AddrPort, everywhere bool) (int, error) {
	if o.overlapsOwn(addr) {
		return o.listenTCP(addr, everywhere, true)
	}
	if addr.Port() == 0 {
		// The kernel gives up a port that it chose itself when a socket stops listening.
		chosen, err := o.bindTCP(addr, everywhere, false)
		if err != nil {
			return -1, err
		}
		defer rawsys.Close(chosen)
		bound, errno := rawsys.LocalAddr(chosen)
		if errno != 0 {
			return -1, errno
		}
		addr = netip.AddrPortFrom(addr.Addr(), bound.Port())
	}
	fd, err := o.listenTCP(addr, everywhere, false)
	if err != nil {
		return -1, err
	}
	if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 {
		rawsys.Close(fd)
		return -1, errno
	}
	return fd, nil
}

// overlapsOwn reports whether this process listens on an address already that overlaps addr.
func (o *Opener) overlapsOwn(addr netip.AddrPort) bool {
	return slices.ContainsFunc(o.Own, func(own Bind) bool {
		ip := own.tcp().Addr()
		return !own.IsUnix() && own.Addr.Port() == addr.Port() &&
			(ip == addr.Addr() || ip.IsUnspecified() || addr.Addr().IsUnspecified())
	})
}

// listenTCP makes a listening TCP socket; with shared, one with SO_REUSEPORT.
func (o *Opener) listenTCP(addr netip.AddrPort, everywhere, shared bool) (int, error) {
	fd, err := o.bindTCP(addr, everywhere, shared)
	if err != nil {
		return -1, err
	}
	// Listening finds out what binding does not: with SO_REUSEADDR two sockets may be bound, but
	// not listen.
	if errno := rawsys.Listen(fd, Backlog); errno != 0 {
		rawsys.Close(fd)
		return -1, errno
	}
	return fd, nil
}

// bindTCP makes a TCP socket that is bound to addr.
func (o *Opener) bindTCP(addr netip.AddrPort, everywhere, shared bool) (fd int, err error) {
	scope, err := rawsys.Scope(addr.Addr())
	if err != nil {
		return -1, err
	}
	sa := rawsys.InetSockaddr(addr, scope)
	fd, errno := rawsys.Socket(sa.Family(), unix.SOCK_STREAM|o.Flags, 0)
	if errno == unix.EAFNOSUPPORT && everywhere { // a machine without IPv6
		sa = rawsys.InetSockaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), 0)
		fd, errno = rawsys.Socket(sa.Family(), unix.SOCK_STREAM|o.Flags, 0)
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
		if o.IPv4[addr.Port()] {
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
	if o.Prepare != nil {
		o.Prepare(fd)
	}
	if errno := sa.Bind(fd); errno != 0 {
		return -1, errno
	}
	return fd, nil
}
