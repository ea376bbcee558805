package rawsys

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestInetSockaddr(t *testing.T) {
	for _, text := range []string{"192.0.2.1:4660", "[::ffff:192.0.2.1]:4660", "[2001:db8::1]:80"} {
		addr := netip.MustParseAddrPort(text)
		var raw unix.RawSockaddrAny
		s := InetSockaddr(addr, 7)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), unsafe.Sizeof(raw)), s.Bytes())
		family, size := unix.AF_INET6, unix.SizeofSockaddrInet6
		if addr.Addr().Unmap().Is4() {
			family, size = unix.AF_INET, unix.SizeofSockaddrInet4
		} else if scope := (*unix.RawSockaddrInet6)(unsafe.Pointer(&raw)).Scope_id; scope != 7 {
			t.Errorf("%s: scope %d, want 7", text, scope)
		}
		if s.Family() != family || len(s.Bytes()) != size {
			t.Errorf("%s: family %d, %d bytes, want %d and %d", text, s.Family(), len(s.Bytes()), family, size)
		}
		if got, want := addrPort(&raw), netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()); got != want {
			t.Errorf("%s: the kernel reads %v, want %v", text, got, want)
		}
	}
}

func TestUnixSockaddr(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/run/x", "/run/x\x00"},
		{"@x", "\x00x"},
		{string(make([]byte, 107)), string(make([]byte, 108))},
	} {
		s, err := UnixSockaddr(c.path)
		if err != nil {
			t.Errorf("%q: %v", c.path, err)
			continue
		}
		if got := string(s.Bytes()[2:]); s.Family() != unix.AF_UNIX || got != c.want {
			t.Errorf("%q: family %d, %q, want %q", c.path, s.Family(), got, c.want)
		}
	}
	for _, path := range []string{"", string(make([]byte, 108))} {
		if _, err := UnixSockaddr(path); err == nil {
			t.Errorf("a unix socket path of %d bytes was accepted", len(path))
		}
	}
}

func TestSockaddrString(t *testing.T) {
	inet := func(text string, scope uint32) *Sockaddr { return InetSockaddr(netip.MustParseAddrPort(text), scope) }
	file, err := UnixSockaddr("/run/x")
	if err != nil {
		t.Fatal(err)
	}
	abstract, err := UnixSockaddr("@x")
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]*Sockaddr{
		"192.0.2.1:4660":   inet("192.0.2.1:4660", 0),
		"[2001:db8::1]:80": inet("[2001:db8::1]:80", 0),
		"[fe80::1%3]:80":   inet("[fe80::1]:80", 3),
		"/run/x":           file,
		"@x":               abstract,
		"":                 nil,
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
