package proxy

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
)

// Origin is where the connections to the backends of a pool come from, and the options of their
// sockets. Neither is for unix sockets.
type Origin struct {
	TCP sockopt.TCP
	// Client: connections come from the address of the client, with another port. It has to have
	// the family of the backend, and the backend's answers have to be routed to this machine.
	Client bool
	// IPv4 and IPv6 are the source addresses by family, with port 0. Each has source ports of its
	// own towards each backend. If both are empty, the kernel chooses the address.
	IPv4, IPv6 []*rawsys.Sockaddr
}

// errNoSource is why a dial has no source address: the pool lacks one of the family of the
// backend, or the client has another family. No call that a dial makes returns this error.
const errNoSource = unix.EPFNOSUPPORT

// from are the source addresses for a family.
func (o *Origin) from(family int) []*rawsys.Sockaddr {
	if family == unix.AF_INET6 {
		return o.IPv6
	}
	return o.IPv4
}

// dialler says for which client, and from which of the source addresses, a backend is dialled.
type dialler struct {
	client netip.Addr
	first  uint32 // position of the source that is tried first, so that all are used
	tried  uint32 // sources that were tried before
	// local: a socket could not be given its address or its options, which is not for the backend
	// to answer for.
	local bool
}

// dialler is that of the connection's own dials.
func (c *conn) dialler() dialler {
	d := dialler{client: c.client.Addr(), first: c.serial}
	if c.search != nil {
		d.tried = c.search.sources
	}
	return d
}

// triedSources keeps the number of sources that the dial in flight has tried.
func (c *conn) triedSources(d *dialler) {
	if d.tried > 0 {
		c.searching().sources = d.tried
	}
}

// startConnect opens a socket in one of the loop's slots and starts to connect it to a backend.
func (w *worker) startConnect(slot eventloop.Slot, pool *Pool, b *backend.Backend, d *dialler) unix.Errno {
	fd, errno := w.openSocket(pool, b, d)
	if errno != 0 {
		return errno
	}
	w.loop.Attach(slot, fd)
	w.loop.Connect(slot, b.Sockaddr)
	return 0
}

// anotherSource dials the same backend again from another address of the pool, if the one tried has
// no port left. It reports whether there is another one.
func (w *worker) anotherSource(pool *Pool, b *backend.Backend, d *dialler, done *eventloop.Completion) bool {
	if done.Err != unix.EADDRNOTAVAIL || !pool.Origin.more(b, d) {
		return false
	}
	d.tried++
	fd, errno := w.openSocket(pool, b, d)
	if errno != 0 {
		return false
	}
	w.loop.Close(done.Slot)
	w.loop.Attach(done.Slot, fd)
	w.loop.Connect(done.Slot, b.Sockaddr)
	return true
}

// openSocket opens a socket that can connect to a backend of the pool. It passes over source
// addresses that this machine does not have.
func (w *worker) openSocket(pool *Pool, b *backend.Backend, d *dialler) (int, unix.Errno) {
	fd, errno := w.openFrom(pool.Origin, b, d)
	for errno == unix.EADDRNOTAVAIL && pool.Origin.more(b, d) {
		d.tried++
		fd, errno = w.openFrom(pool.Origin, b, d)
	}
	return fd, errno
}

func (w *worker) openFrom(o *Origin, b *backend.Backend, d *dialler) (int, unix.Errno) {
	family := b.Sockaddr.Family()
	if o == nil || family == unix.AF_UNIX {
		fd, errno := rawsys.Socket(family, unix.SOCK_STREAM|w.loop.SocketFlags(), 0)
		if errno != 0 {
			return -1, errno
		}
		if family != unix.AF_UNIX {
			rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		keepUrgentInLine(fd)
		return fd, 0
	}
	fd, errno := o.TCP.Socket(family, w.loop.SocketFlags())
	if errno != 0 {
		return -1, errno
	}
	if !o.TCP.Nagle {
		rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	keepUrgentInLine(fd)
	if errno = o.TCP.Dialing(fd, family); errno == 0 {
		errno = o.bind(fd, family, d)
	}
	if errno != 0 {
		rawsys.Close(fd)
		d.local = true
		return -1, errno
	}
	return fd, 0
}

// bind gives a socket its source address.
func (o *Origin) bind(fd, family int, d *dialler) unix.Errno {
	if o.Client {
		if !d.client.IsValid() || d.client.Is4() != (family == unix.AF_INET) {
			return errNoSource
		}
		if errno := sockopt.Transparent(fd, family); errno != 0 {
			return errno
		}
		sockopt.LatePort(fd)
		return rawsys.InetSockaddr(netip.AddrPortFrom(d.client, 0), 0).Bind(fd)
	}
	from := o.from(family)
	if len(from) == 0 {
		if len(o.IPv4)+len(o.IPv6) > 0 {
			return errNoSource
		}
		return 0
	}
	sockopt.LatePort(fd)
	return from[(d.first+d.tried)%uint32(len(from))].Bind(fd)
}

// more reports whether a dial may be tried from another source address.
func (o *Origin) more(b *backend.Backend, d *dialler) bool {
	return o != nil && !o.Client && int(d.tried)+1 < len(o.from(b.Sockaddr.Family()))
}
