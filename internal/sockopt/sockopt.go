// Package sockopt sets the options of TCP sockets that a configuration can ask for, and finds out
// whether this kernel has them.
package sockopt

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// TCP are the options of a TCP socket, see tcp(7), ip(7) and socket(7). The zero value leaves
// everything as it is. Linux copies all of them from a listening socket to the sockets that it
// accepts.
type TCP struct {
	// KeepAlive: the zero value leaves it to the caller.
	KeepAlive KeepAlive
	// Congestion is TCP_CONGESTION; "" means the default of the system.
	Congestion string
	// FastOpen is TCP_FASTOPEN, for listening sockets only.
	FastOpen bool
	// Multipath asks for a socket of MPTCP (RFC 8684). See [TCP.Socket].
	Multipath bool
	// NotSentLowat is TCP_NOTSENT_LOWAT, in bytes; 0 means the default of the system.
	NotSentLowat int
	// Nagle leaves out TCP_NODELAY.
	Nagle bool
	// Mark is SO_MARK; 0 means none.
	Mark uint32
	// TOS is IP_TOS and IPV6_TCLASS; 0 means none.
	TOS uint8
}

// KeepAlive is how a peer that has vanished is detected.
type KeepAlive struct {
	Idle     time.Duration // TCP_KEEPIDLE: idle time before the first probe; whole seconds
	Interval time.Duration // TCP_KEEPINTVL: time between probes; whole seconds
	// Timeout is TCP_USER_TIMEOUT: how long bytes or probes may stay unacknowledged. The kernel
	// then ignores Count.
	Timeout time.Duration
	// Count is TCP_KEEPCNT: how many probes may stay unanswered; 0 means the default of the system.
	Count int
}

// Set sets the options on a TCP socket. With valid values, none of the calls can fail there. A
// socket of MPTCP lacks TCP_USER_TIMEOUT, and a unix socket lacks all of these options.
func (k KeepAlive) Set(fd int) {
	rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(k.Idle/time.Second))
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(k.Interval/time.Second))
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(k.Timeout/time.Millisecond))
	if k.Count > 0 {
		rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Count)
	}
}

// fastOpenQueue is how many connections that were opened with data may wait for the ACK of the
// handshake. Beyond that, the kernel falls back to ordinary handshakes.
const fastOpenQueue = 1024

// Listening sets the options on a socket that listens or is about to.
func (o *TCP) Listening(fd, family int) unix.Errno {
	if o.FastOpen {
		if errno := rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, fastOpenQueue); errno != 0 {
			return errno
		}
	}
	if o.KeepAlive != (KeepAlive{}) {
		o.KeepAlive.Set(fd)
	}
	if o.Nagle { // an inherited socket may have had the option before
		rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 0)
	}
	return o.both(fd, family)
}

// Dialing sets the options on a socket that is about to connect, except KeepAlive: most connections
// end before they need that.
func (o *TCP) Dialing(fd, family int) unix.Errno { return o.both(fd, family) }

func (o *TCP) both(fd, family int) unix.Errno {
	if o.Congestion != "" {
		if errno := rawsys.SetString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.Congestion); errno != 0 {
			return errno
		}
	}
	if o.NotSentLowat > 0 {
		if errno := rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, o.NotSentLowat); errno != 0 {
			return errno
		}
	}
	if o.Mark != 0 {
		if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark)); errno != 0 {
			return errno
		}
	}
	if o.TOS == 0 {
		return 0
	}
	if family == unix.AF_INET6 {
		if errno := rawsys.SetInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(o.TOS)); errno != 0 {
			return errno
		}
	}
	// Of a socket of both families, the packets to IPv4 peers have this one.
	return rawsys.SetInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(o.TOS))
}

// Socket is rawsys.Socket for a stream of the family. With Multipath, it is one of MPTCP if the
// kernel has that, else one of TCP. A socket of MPTCP falls back to TCP by itself if the peer does
// not have it.
func (o *TCP) Socket(family, flags int) (int, unix.Errno) {
	if o.Multipath {
		if fd, errno := rawsys.Socket(family, unix.SOCK_STREAM|flags, unix.IPPROTO_MPTCP); !noMultipath(errno) {
			return fd, errno
		}
	}
	return rawsys.Socket(family, unix.SOCK_STREAM|flags, 0)
}

// noMultipath reports whether an error of socket(2) means that the kernel has no MPTCP, or that it
// is switched off.
func noMultipath(errno unix.Errno) bool {
	return errno == unix.EPROTONOSUPPORT || errno == unix.ENOPROTOOPT || errno == unix.EINVAL
}

// Transparent lets a socket of the family bind to an address of another machine (IP_TRANSPARENT,
// ip(7)), and accept clients that a TPROXY rule has sent to it.
func Transparent(fd, family int) unix.Errno {
	if family == unix.AF_INET6 {
		return rawsys.SetInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	return rawsys.SetInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
}

// LatePort makes connect(2) choose the port of a socket that is bound to an address with port 0
// (IP_BIND_ADDRESS_NO_PORT, ip(7)). bind(2) would need a port that no other socket has; connect(2)
// needs one that is free towards this peer.
func LatePort(fd int) unix.Errno {
	return rawsys.SetInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
}
