package listen

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
)

// Options of the sockets of a [Bind]. The zero value is the default.
type Options struct {
	// Transparent: the socket accepts clients that a TPROXY rule has sent to it. The local address
	// of such a connection is the one that the client connected to.
	Transparent bool
	// V6Only is for [::] only.
	V6Only V6Only
	// Interface is the name of the only network interface from which clients are accepted
	// (SO_BINDTODEVICE, socket(7)); "" means all interfaces.
	Interface string
	// Backlog is the length of the queue of clients that wait to be accepted; 0 means [Backlog].
	// The kernel lowers it to net.core.somaxconn.
	Backlog int
	TCP     sockopt.TCP
}

// V6Only says whether [::] is for IPv6 clients only.
type V6Only uint8

// V6Auto is for IPv6 only if the process listens on 0.0.0.0 at the same port.
const (
	V6Auto V6Only = iota
	V6Yes
	V6No
)

// Queue is the length of the queue of clients that wait to be accepted.
func (o *Options) Queue() int { return cmp.Or(o.Backlog, Backlog) }

// apply sets the options on a TCP socket that is not bound yet, or that another process has opened.
func (o *Options) apply(fd, family int) error {
	if o.Transparent {
		if errno := sockopt.Transparent(fd, family); errno != 0 {
			return fmt.Errorf("cannot make the socket transparent: %w", errno)
		}
	}
	if o.Interface != "" && device(fd) != o.Interface {
		if errno := rawsys.SetString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, o.Interface); errno != 0 {
			return fmt.Errorf("cannot bind to the network interface %q: %w", o.Interface, errno)
		}
	}
	if errno := o.TCP.Listening(fd, family); errno != 0 {
		return fmt.Errorf("cannot set the TCP options: %w", errno)
	}
	return nil
}

// device is the network interface that a socket is bound to, "" if it is bound to none.
func device(fd int) string {
	name, _ := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	return name
}

// fixed finds the options that an open socket lacks and cannot get any more. One of MPTCP serves
// clients of TCP too.
func (o *Options) fixed(fd int, everyIPv6 bool) error {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && o.TCP.Multipath && protocol != unix.IPPROTO_MPTCP && sockopt.CheckMultipath() == nil {
		return errors.New("the socket is not one of MPTCP, and an open socket cannot change that: reload before the upgrade, or have l4proxy open it")
	}
	if !everyIPv6 || o.V6Only == V6Auto {
		return nil
	}
	if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil && (only != 0) != (o.V6Only == V6Yes) {
		return fmt.Errorf("the socket has v6only: %t, and an open socket cannot change that: reload before the upgrade, or change the bind (BindIPv6Only= in a socket unit)", only != 0)
	}
	return nil
}

// portOn is a port, and the network interface of its socket.
type portOn struct {
	port uint16
	on   string // "" is every interface
}

// anyInterface stands for all of them. No interface has this name: a slash is not allowed.
const anyInterface = "/"

// Ports are ports on interfaces.
type Ports map[portOn]bool

// Has reports whether the port of a bind is among them, on an interface that both have.
func (p Ports) Has(b Bind) bool {
	port, on := b.Addr.Port(), b.Options.Interface
	if on == "" {
		return p[portOn{port, anyInterface}]
	}
	return p[portOn{port, on}] || p[portOn{port, ""}]
}

func (p Ports) add(b Bind) {
	port := b.Addr.Port()
	p[portOn{port, b.Options.Interface}], p[portOn{port, anyInterface}] = true, true
}

// v6only is the value of IPV6_V6ONLY for a bind.
func (o *Opener) v6only(b Bind) bool {
	return b.Options.V6Only == V6Yes || b.Options.V6Only == V6Auto && o.IPv4.Has(b)
}
