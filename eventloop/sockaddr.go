package eventloop

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is an address in the form in which the kernel reads it, made once and used for every connect.
type Sockaddr struct {
	raw    unix.RawSockaddrAny
	size   uint32
	family int
	// mayMeetItself: a connect to it may connect the socket to itself; see selfconnect.go.
	mayMeetItself bool
}

// InetSockaddr is the address of a TCP endpoint. The scope of a link-local IPv6 address is an interface's number.
func InetSockaddr(addr netip.AddrPort, scope uint32) *Sockaddr {
	s := &Sockaddr{mayMeetItself: mayMeetItself(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))}
	port := [2]byte{byte(addr.Port() >> 8), byte(addr.Port())}
	if ip := addr.Addr().Unmap(); ip.Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		in.Family, in.Addr = unix.AF_INET, ip.As4()
		*(*[2]byte)(unsafe.Pointer(&in.Port)) = port
		s.size, s.family = unix.SizeofSockaddrInet4, unix.AF_INET
	} else {
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
		in.Family, in.Addr, in.Scope_id = unix.AF_INET6, ip.As16(), scope
		*(*[2]byte)(unsafe.Pointer(&in.Port)) = port
		s.size, s.family = unix.SizeofSockaddrInet6, unix.AF_INET6
	}
	return s
}

// UnixSockaddr is the address of a unix socket; a leading @ stands for the abstract name space (unix(7)).
func UnixSockaddr(path string) (*Sockaddr, error) {
	s := new(Sockaddr)
	un := (*unix.RawSockaddrUnix)(unsafe.Pointer(&s.raw))
	if path == "" || len(path) >= len(un.Path) {
		return nil, fmt.Errorf("unix socket path %q: write 1 to %d bytes", path, len(un.Path)-1)
	}
	un.Family, s.family = unix.AF_UNIX, unix.AF_UNIX
	for i := range len(path) {
		un.Path[i] = int8(path[i])
	}
	s.size = uint32(unsafe.Offsetof(un.Path)) + uint32(len(path))
	if path[0] == '@' {
		un.Path[0] = 0
	} else {
		s.size++ // the terminating NUL counts, except for abstract names
	}
	return s, nil
}

// bytes is the address in the kernel's form.
func (s *Sockaddr) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&s.raw)), s.size) }

// Family is AF_INET, AF_INET6 or AF_UNIX.
func (s *Sockaddr) Family() int { return s.family }

// Bind binds fd to the address: bind(2).
func (s *Sockaddr) Bind(fd int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.size))
	return errno
}

// Connect connects fd to the address: connect(2), for sockets that are not on a loop.
func (s *Sockaddr) Connect(fd int) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.size))
	return errno
}
