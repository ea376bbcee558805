package rawsys

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// tcpSocket returns a socket that is bound to addr, and where that is.
func tcpSocket(t *testing.T, addr string) (int, netip.AddrPort) {
	t.Helper()
	sa := InetSockaddr(netip.MustParseAddrPort(addr), 0)
	fd, errno := Socket(sa.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { Close(fd) })
	SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	SetLinger(fd, 1, 0)
	if errno := sa.Bind(fd); errno != 0 {
		t.Fatal(errno)
	}
	bound, errno := LocalAddr(fd)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fd, bound
}

func TestConnectedToItself(t *testing.T) {
	for _, c := range []struct{ name, from, to string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"unspecified", "127.0.0.1:0", "0.0.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, bound := tcpSocket(t, c.from)
			to := InetSockaddr(netip.AddrPortFrom(netip.MustParseAddr(c.to), bound.Port()), 0)
			if errno := to.Connect(fd); errno != 0 && errno != unix.EINPROGRESS {
				t.Fatal(errno)
			}
			if !to.MayMeetItself() || !ConnectedToItself(fd, to.Bytes()) {
				t.Errorf("a socket that is connected from %v to itself is not found out", bound)
			}
		})
	}
}

// The same port at another address is another socket's.
func TestNotConnectedToItself(t *testing.T) {
	listener, at := tcpSocket(t, "127.0.0.2:0")
	if errno := Listen(listener, 1); errno != 0 {
		t.Fatal(errno)
	}
	to := InetSockaddr(at, 0)
	for _, from := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port()),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0),
	} {
		fd, _ := tcpSocket(t, from.String())
		if errno := to.Connect(fd); errno != 0 && errno != unix.EINPROGRESS {
			t.Fatal(errno)
		}
		if ConnectedToItself(fd, to.Bytes()) {
			t.Errorf("a connection from %v to %v is taken for one to itself", from, at)
		}
	}
}
