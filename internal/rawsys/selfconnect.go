package rawsys

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A connect(2) to a local port on which no socket listens can connect to itself: the kernel picks
// that very port as the source, the SYN arrives at the socket that sent it, and both ends of the
// connection are one socket (the simultaneous open of RFC 9293, 3.5). The client would get its own
// bytes back, and the real server could not bind its port.

// ConnectedToItself reports whether fd, which is connected to addr, is both ends of its connection.
// Close such a socket with a reset (SetLinger): a FIN would keep the port busy for a minute
// (TIME_WAIT).
func ConnectedToItself(fd int, addr []byte) bool {
	local, errno := LocalAddr(fd)
	if errno != 0 || local.Port() != binary.BigEndian.Uint16(addr[portOffset:]) { // the usual case takes one call
		return false
	}
	peer, errno := PeerAddr(fd)
	return errno == 0 && peer == local
}

// portOffset is where both families have the port, in network byte order.
const portOffset = unsafe.Offsetof(unix.RawSockaddrInet4{}.Port)

// mayMeetItself reports whether a connect to addr has to be checked. The check costs a system call
// of 0.1 µs. So it is made only for ports that the kernel picks as a source, and for loopback
// addresses, in case that range has changed since it was read.
func mayMeetItself(addr netip.AddrPort) bool {
	ip, ports := addr.Addr().Unmap(), sourcePorts()
	return ip.IsLoopback() || ip.IsUnspecified() || addr.Port() >= ports.first && addr.Port() <= ports.last
}

type portRange struct{ first, last uint16 }

// sourcePorts is the range from which the kernel picks source ports (ip(7), ip_local_port_range),
// for both address families; all ports if the range cannot be read.
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
