package health

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the prober are raw: an ordinary Go system call hands its
// processor (P) to the scheduler and has to win one back, which costs more than
// most of these calls do. That is right for calls that cannot block: every
// socket here is non-blocking.

// sockaddr is a TCP address in the form in which the kernel reads it, made once
// and used for every connect.
type sockaddr struct {
	raw    unix.RawSockaddrInet6 // or a RawSockaddrInet4, which is shorter
	size   uint32
	family uint16 // AF_INET or AF_INET6; 0: not an address for the prober
}

// sockaddrOf returns the zero sockaddr for addresses that are not TCP's, and
// for those of a zone (RFC 4007): connecting binds a socket to the interface for
// good, and the prober uses its sockets again.
func sockaddrOf(addr net.Addr) (s sockaddr) {
	a, ok := addr.(*net.TCPAddr)
	if !ok || a.Zone != "" {
		return s
	}
	ip := a.AddrPort().Addr().Unmap()
	port := [2]byte{byte(a.Port >> 8), byte(a.Port)} // in network byte order
	switch {
	case ip.Is4():
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		in.Family, in.Addr = unix.AF_INET, ip.As4()
		*(*[2]byte)(unsafe.Pointer(&in.Port)) = port
		s.size, s.family = unix.SizeofSockaddrInet4, unix.AF_INET
	case ip.Is6():
		s.raw.Family, s.raw.Addr = unix.AF_INET6, ip.As16()
		*(*[2]byte)(unsafe.Pointer(&s.raw.Port)) = port
		s.size, s.family = unix.SizeofSockaddrInet6, unix.AF_INET6
	}
	return s
}

func newSocket(family uint16) (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

func setOption(fd, level, option int, value int32) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
	return errno
}

func connect(fd int, addr *sockaddr) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr.raw)), uintptr(addr.size))
	return errno
}

// isSelf reports whether the socket fd, which connects to addr, has that very
// address itself: the kernel picks its port from ip_local_port_range, and if
// nothing listens on addr, that may be the port of addr.
func isSelf(fd int, addr *sockaddr) bool {
	var own sockaddr
	size := uint32(unsafe.Sizeof(own.raw))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&own.raw)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 || own.raw.Port != addr.raw.Port { // at the same offset in both families
		return false
	}
	if addr.family == unix.AF_INET {
		own, addr := (*unix.RawSockaddrInet4)(unsafe.Pointer(&own.raw)), (*unix.RawSockaddrInet4)(unsafe.Pointer(&addr.raw))
		return own.Addr == addr.Addr || addr.Addr == [4]byte{} // 0.0.0.0 stands for the loopback address
	}
	return own.raw.Addr == addr.raw.Addr || addr.raw.Addr == [16]byte{}
}

// socketError takes the pending error of fd, 0 when there is none (SO_ERROR,
// socket(7)).
func socketError(fd int) unix.Errno {
	var value int32
	size := uint32(unsafe.Sizeof(value))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Errno(value)
}

func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func newEpoll() (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

// epollAdd registers fd; id comes back in the Fd field of each of its events.
func epollAdd(epoll, fd int, events uint32, id int32) unix.Errno {
	event := unix.EpollEvent{Events: events, Fd: id}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), unix.EPOLL_CTL_ADD, uintptr(fd),
		uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno
}

func epollDelete(epoll, fd int) {
	_, _, _ = unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), unix.EPOLL_CTL_DEL, uintptr(fd), 0, 0, 0)
}

// epollReady returns the events that there are, and does not wait for any.
func epollReady(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
