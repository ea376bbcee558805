// Package rawsys makes system calls that cannot block, without the Go scheduler's bookkeeping.
//
// An ordinary Go system call (syscall.Syscall, and with it everything in package net and most of
// x/sys/unix) hands its processor (P) back to the scheduler for the time of the call. On a loop
// that makes tens of thousands of calls per second, that bookkeeping, and the futex it takes to get
// a P back, took half of all CPU time. Calls made here keep the P. Use them only if the call cannot
// block: the descriptor is non-blocking, or the call (socket, setsockopt, close of a socket,
// shutdown) never waits.
//
// All functions return the kernel's errno, 0 for success; -1 stands for "no descriptor".
package rawsys

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is socket(2) with SOCK_CLOEXEC added to typ.
func Socket(family, typ, protocol int) (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), uintptr(typ|unix.SOCK_CLOEXEC), uintptr(protocol))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

// SetInt is setsockopt(2) with an int value.
func SetInt(fd, level, option, value int) unix.Errno {
	v := int32(value)
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	return errno
}

// SetString is setsockopt(2) with a text.
func SetString(fd, level, option int, value string) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.StringData(value))), uintptr(len(value)), 0)
	return errno
}

// SetLinger sets SO_LINGER. With onoff 1 and seconds 0, a following close(2) sends a reset instead
// of a FIN.
func SetLinger(fd int, onoff, seconds int32) unix.Errno {
	l := unix.Linger{Onoff: onoff, Linger: seconds}
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
	return errno
}

// TCPInfo fills info with getsockopt(TCP_INFO). Fields that the kernel does not know stay zero.
func TCPInfo(fd int, info *unix.TCPInfo) unix.Errno {
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	return errno
}

// Connect is connect(2) of a non-blocking socket. addr is the kernel's form of the address.
func Connect(fd int, addr []byte) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))),
		uintptr(len(addr)))
	return errno
}

// Disconnect dissolves the association of a TCP socket: connect(2) with AF_UNSPEC. An established
// connection is reset, and the socket can connect again.
func Disconnect(fd int) unix.Errno {
	var unspecified [unix.SizeofSockaddrInet4]byte
	return Connect(fd, unspecified[:])
}

// Accept is accept4(2) with SOCK_CLOEXEC added to flags. peer is the zero AddrPort for a unix
// socket.
func Accept(listener, flags int) (fd int, peer netip.AddrPort, errno unix.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)), uintptr(flags|unix.SOCK_CLOEXEC), 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(r), addrPort(&sa), 0
}

// PeerAddr is getpeername(2), with IPv4-mapped addresses unmapped; the zero AddrPort for a unix
// socket. It also works if the peer has already reset the connection (SO_PEERNAME,
// include/uapi/asm-generic/socket.h).
func PeerAddr(fd int) (netip.AddrPort, unix.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	_, _, errno := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)))
	if errno == unix.ENOTCONN {
		errno = peerName(fd, &sa)
	}
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addrPort(&sa), 0
}

// peerName is getsockopt(SO_PEERNAME). The kernel refuses a size above that of the address.
func peerName(fd int, sa *unix.RawSockaddrAny) (errno unix.Errno) {
	for _, size := range []uint32{unix.SizeofSockaddrInet6, unix.SizeofSockaddrInet4} {
		_, _, errno = unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERNAME,
			uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != unix.EINVAL {
			break
		}
	}
	return errno
}

// LocalAddr is getsockname(2), with IPv4-mapped addresses unmapped; the zero AddrPort for a unix
// socket.
func LocalAddr(fd int) (netip.AddrPort, unix.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(sa))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)),
		uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addrPort(&sa), 0
}

// addrPort omits the scope of a link-local address: access rules do not have it either.
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkOrder(in.Port))
	}
	return netip.AddrPort{}
}

// networkOrder turns a port from network byte order to the machine's, or back.
func networkOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// Shutdown is shutdown(2).
func Shutdown(fd, how int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return errno
}

// Listen is listen(2), which never waits.
func Listen(fd, backlog int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0)
	return errno
}

// Close is close(2). On Linux the descriptor is released even if it returns an error, so it must
// not be retried.
func Close(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errno
}

// Recv is recvfrom(2) without an address.
func Recv(fd int, p []byte, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Send is sendto(2) without an address; MSG_NOSIGNAL is added, so that a closed peer causes EPIPE
// and no signal.
func Send(fd int, p []byte, flags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(len(p)), uintptr(flags|unix.MSG_NOSIGNAL), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Splice is splice(2) with SPLICE_F_MOVE and SPLICE_F_NONBLOCK; n is the most it moves. The socket
// needs O_NONBLOCK too: the flag of the call covers only the pipe.
func Splice(from, to, n int) (int, unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n),
		unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// SetNonblock sets or clears O_NONBLOCK of fd.
func SetNonblock(fd int, on bool) unix.Errno {
	flags, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFL, 0)
	if errno != 0 {
		return errno
	}
	wanted := flags &^ unix.O_NONBLOCK
	if on {
		wanted |= unix.O_NONBLOCK
	}
	if wanted == flags {
		return 0
	}
	_, _, errno = unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFL, wanted)
	return errno
}

// IsUnix reports whether fd is a unix socket: getsockopt(SO_DOMAIN).
func IsUnix(fd int) bool {
	var domain int32
	size := uint32(unsafe.Sizeof(domain))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_DOMAIN,
		uintptr(unsafe.Pointer(&domain)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0 && domain == unix.AF_UNIX
}

// SocketError takes the pending error of fd, or 0: getsockopt(SO_ERROR).
func SocketError(fd int) unix.Errno {
	var value int32
	size := uint32(unsafe.Sizeof(value))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Errno(value)
}

// AtUrgentMark reports whether the next byte of fd is the urgent one (SIOCATMARK, tcp(7)). Where
// ioctl(2) is forbidden, it is true for any byte.
func AtUrgentMark(fd int) bool {
	var at int32
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCATMARK, uintptr(unsafe.Pointer(&at)))
	if errno == 0 {
		return at != 0
	}
	return peek(fd)
}

// Unread is the number of bytes in fd's receive queue (SIOCINQ, tcp(7)); 0 on error. Where ioctl(2)
// is forbidden, it is no more than 1.
func Unread(fd int) int {
	var n int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCINQ, uintptr(unsafe.Pointer(&n))); errno == 0 {
		return int(n)
	}
	if peek(fd) {
		return 1
	}
	return 0
}

// peek reports whether a byte can be received from fd.
func peek(fd int) bool {
	var b [1]byte
	n, errno := Recv(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return errno == 0 && n > 0
}

// Unsent is the number of bytes in fd's send queue that the peer has not acknowledged (SIOCOUTQ,
// tcp(7)); 0 on error. Where ioctl(2) is forbidden, segments count like bytes.
func Unsent(fd int) int {
	var n int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno == 0 {
		return int(n)
	}
	var info unix.TCPInfo
	if TCPInfo(fd, &info) != 0 {
		return 0
	}
	return int(info.Notsent_bytes + info.Unacked)
}

// A Call is a system call that a security profile may hide.
type Call struct {
	Name   string // with its manual section
	number uintptr
}

// The calls that an event loop requires.
var (
	Accept4        = Call{"accept4(2)", unix.SYS_ACCEPT4}
	Connecting     = Call{"connect(2)", unix.SYS_CONNECT}
	Receiving      = Call{"recvfrom(2)", unix.SYS_RECVFROM}
	Sending        = Call{"sendto(2)", unix.SYS_SENDTO}
	ShuttingDown   = Call{"shutdown(2)", unix.SYS_SHUTDOWN}
	SettingOptions = Call{"setsockopt(2)", unix.SYS_SETSOCKOPT}
	ReadingOptions = Call{"getsockopt(2)", unix.SYS_GETSOCKOPT}
)

// Try makes the call with an invalid descriptor as its first argument: EBADF means that the call is
// available.
func (c Call) Try() unix.Errno {
	_, _, errno := unix.RawSyscall6(c.number, ^uintptr(0), 0, 0, 0, 0, 0)
	return errno
}
