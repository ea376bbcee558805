package rawsys

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr is an address in the form in which the kernel reads it, made once and used for every
// connect.
type Sockaddr struct {
	// raw is a struct sockaddr_in of ip(7), a sockaddr_in6 of ipv6(7) or a sockaddr_un of unix(7).
	raw           []byte
	mayMeetItself bool
}

// InetSockaddr is the address of a TCP endpoint. The scope of a link-local IPv6 address is the
// number of an interface.
func InetSockaddr(addr netip.AddrPort, scope uint32) *Sockaddr {
	s := &Sockaddr{mayMeetItself: mayMeetItself(addr)}
	if ip := addr.Addr().Unmap(); ip.Is4() {
		s.raw = make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(s.raw, unix.AF_INET)
		copy(s.raw[unsafe.Offsetof(unix.RawSockaddrInet4{}.Addr):], ip.AsSlice())
	} else {
		s.raw = make([]byte, unix.SizeofSockaddrInet6)
		binary.NativeEndian.PutUint16(s.raw, unix.AF_INET6)
		copy(s.raw[unsafe.Offsetof(unix.RawSockaddrInet6{}.Addr):], ip.AsSlice())
		binary.NativeEndian.PutUint32(s.raw[unsafe.Offsetof(unix.RawSockaddrInet6{}.Scope_id):], scope)
	}
	binary.BigEndian.PutUint16(s.raw[portOffset:], addr.Port())
	return s
}

// UnixSockaddr is the address of a unix socket; a leading @ stands for the abstract name space
// (unix(7)).
func UnixSockaddr(path string) (*Sockaddr, error) {
	const start = unsafe.Offsetof(unix.RawSockaddrUnix{}.Path)
	if longest := unix.SizeofSockaddrUnix - int(start) - 1; path == "" || len(path) > longest {
		return nil, fmt.Errorf("unix socket path %q: write 1 to %d bytes", path, longest)
	}
	// The terminating NUL counts, except for abstract names.
	raw := make([]byte, int(start)+len(path)+1)
	binary.NativeEndian.PutUint16(raw, unix.AF_UNIX)
	copy(raw[start:], path)
	if path[0] == '@' {
		raw[start] = 0
		raw = raw[:len(raw)-1]
	}
	return &Sockaddr{raw: raw}, nil
}

// Bytes is the address in the kernel's form.
func (s *Sockaddr) Bytes() []byte { return s.raw }

// Family is AF_INET, AF_INET6 or AF_UNIX; AF_UNSPEC for the zero Sockaddr, and no socket can be
// made of that.
func (s *Sockaddr) Family() int {
	if len(s.raw) == 0 {
		return unix.AF_UNSPEC
	}
	return int(binary.NativeEndian.Uint16(s.raw))
}

// String is the address in the form in which an address is configured: host:port, or the path of a
// unix socket. It is "" for no address.
func (s *Sockaddr) String() string {
	if s == nil {
		return ""
	}
	switch s.Family() {
	case unix.AF_UNIX:
		path := s.raw[unsafe.Offsetof(unix.RawSockaddrUnix{}.Path):]
		if path[0] == 0 {
			return "@" + string(path[1:])
		}
		return string(path[:len(path)-1])
	case unix.AF_INET, unix.AF_INET6:
		var raw unix.RawSockaddrAny
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)), s.raw)
		addr := addrPort(&raw)
		if s.Family() == unix.AF_INET6 {
			if scope := (*unix.RawSockaddrInet6)(unsafe.Pointer(&raw)).Scope_id; scope != 0 {
				zone := strconv.FormatUint(uint64(scope), 10)
				addr = netip.AddrPortFrom(addr.Addr().WithZone(zone), addr.Port())
			}
		}
		return addr.String()
	}
	return ""
}

// MayMeetItself reports whether a socket that connects to the address may connect to itself; see
// ConnectedToItself.
func (s *Sockaddr) MayMeetItself() bool { return s.mayMeetItself }

// Bind is bind(2). The path of a unix socket may be on a file system that makes the thread wait.
func (s *Sockaddr) Bind(fd int) unix.Errno {
	var errno unix.Errno
	addr, size := unsafe.Pointer(unsafe.SliceData(s.raw)), uintptr(len(s.raw))
	if s.Family() == unix.AF_UNIX {
		_, _, errno = unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(addr), size)
	} else {
		_, _, errno = unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(addr), size)
	}
	return errno
}

// Connect is connect(2) of a non-blocking socket.
func (s *Sockaddr) Connect(fd int) unix.Errno { return Connect(fd, s.raw) }
