package eventloop

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop/rawsys"
)

// A connect(2) to a local port on which no socket listens can connect to itself: the kernel picks that very port as the
// source, the SYN arrives at the socket that sent it, and both ends of the connection are one socket (the simultaneous
// open of RFC 9293, 3.5). The client would get its own bytes back, and the real server could not bind its port. A loop
// reports such a connect as refused, as it would have been with any other source port.

// refuseItself returns ECONNREFUSED for a socket that is connected to itself, and sees to it that closing it sends a
// reset: a FIN would keep the port busy for a minute (TIME_WAIT).
func refuseItself(so *socket) unix.Errno {
	if so.flags&flagToItself == 0 {
		return 0
	}
	local, errno := rawsys.LocalAddr(int(so.fd))
	if errno != 0 || local.Port() != portOf(so.out.data) { // the usual case, settled with one call
		return 0
	}
	if peer, errno := rawsys.PeerAddr(int(so.fd)); errno != 0 || peer != local {
		return 0
	}
	rawsys.SetLinger(int(so.fd), 1, 0)
	return unix.ECONNREFUSED
}

// portOf is the port of an address in the kernel's form. Its offset is the same in both families.
func portOf(addr []byte) uint16 { return binary.BigEndian.Uint16(addr[2:]) }

// mayMeetItself reports whether a connect to the address has to be checked. The check costs a system call of 0.1 µs. So
// it is made only for ports that the kernel picks as a source, and for loopback addresses, in case that range has
// changed since it was read.
func mayMeetItself(addr netip.AddrPort) bool {
	ip, ports := addr.Addr(), sourcePorts()
	return ip.IsLoopback() || ip.IsUnspecified() || addr.Port() >= ports.first && addr.Port() <= ports.last
}

type portRange struct{ first, last uint16 }

// sourcePorts is the range from which the kernel picks source ports (ip(7), ip_local_port_range), for both address
// families; all ports if the range cannot be read.
var sourcePorts = sync.OnceValue(func() portRange {
	var r portRange
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &r.first, &r.last)
	}
	if err != nil {
		return portRange{0, 65535}
	}
	return r
})
