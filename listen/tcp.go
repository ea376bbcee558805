package listen

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// openTCP opens a listening socket for each shard that has no inherited one.
func (o *Opener) openTCP(bind Bind, inherited []int) (*Sockets, error) {
	addr := bind.tcp()
	var opened []int
	if len(inherited) == 0 {
		first, err := o.openFirst(bind)
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
	s.Bind = Bind{Addr: addr, Place: bind.Place, Options: bind.Options}
	if only, err := unix.GetsockoptInt(s.fds[0], unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil {
		s.IPv6Only = only != 0 && addr.Addr().IsUnspecified()
	}
	for err == nil && len(s.fds) < o.Shards {
		var fd int
		if fd, err = o.listenTCP(bind.at(addr.Port()), true); err == nil {
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
func (o *Opener) openFirst(bind Bind) (int, error) {
	if o.overlapsOwn(bind.tcp()) {
		return o.listenTCP(bind, true)
	}
	if bind.Addr.Port() == 0 {
		// The kernel gives up a port that it chose itself when a socket stops listening.
		chosen, err := o.bindTCP(bind, false)
		if err != nil {
			return -1, err
		}
		defer rawsys.Close(chosen)
		bound, errno := rawsys.LocalAddr(chosen)
		if errno != 0 {
			return -1, errno
		}
		bind = bind.at(bound.Port())
	}
	fd, err := o.listenTCP(bind, false)
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
func (o *Opener) listenTCP(bind Bind, shared bool) (int, error) {
	fd, err := o.bindTCP(bind, shared)
	if err != nil {
		return -1, err
	}
	// Listening finds out what binding does not: with SO_REUSEADDR two sockets may be bound, but
	// not listen.
	if errno := rawsys.Listen(fd, bind.Options.Queue()); errno != 0 {
		rawsys.Close(fd)
		return -1, errno
	}
	return fd, nil
}

// bindTCP makes a TCP socket that is bound to an address.
func (o *Opener) bindTCP(bind Bind, shared bool) (fd int, err error) {
	addr, options := bind.tcp(), &bind.Options
	scope, err := rawsys.Scope(addr.Addr())
	if err != nil {
		return -1, err
	}
	sa := rawsys.InetSockaddr(addr, scope)
	fd, errno := options.TCP.Socket(sa.Family(), o.Flags)
	if errno == unix.EAFNOSUPPORT && bind.everywhere() { // a machine without IPv6
		sa = rawsys.InetSockaddr(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), 0)
		fd, errno = options.TCP.Socket(sa.Family(), o.Flags)
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
		if o.v6only(bind) {
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
	if err := options.apply(fd, sa.Family()); err != nil {
		return -1, err
	}
	if errno := sa.Bind(fd); errno != 0 {
		return -1, errno
	}
	return fd, nil
}
