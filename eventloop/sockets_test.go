package eventloop

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// listen makes a listening socket that is not in a loop. network is tcp, tcp6 or unix.
func listen(t *testing.T, network string, backlog int) (fd int, addr net.Addr) {
	t.Helper()
	var family int
	var sa unix.Sockaddr
	switch network {
	case "tcp":
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	case "tcp6":
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	case "unix":
		family, sa = unix.AF_UNIX, &unix.SockaddrUnix{Name: abstractName()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		if network == "tcp6" {
			t.Skipf("needs IPv6 on the loopback interface: %v", err)
		}
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	switch bound, err := unix.Getsockname(fd); sa := bound.(type) {
	case *unix.SockaddrInet4:
		addr = &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		addr = &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrUnix:
		addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
	default:
		t.Fatal(err)
	}
	return fd, addr
}

var names atomic.Int64

func abstractName() string { return fmt.Sprintf("@l4proxy-test-%d-%d", os.Getpid(), names.Add(1)) }

// dial connects a peer, which is closed with the test.
func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	peer, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	peer.SetDeadline(time.Now().Add(patience))
	return peer
}

// pair makes a connection whose one end is in the loop.
func (d *driver) pair(network string) (Slot, net.Conn) {
	d.t.Helper()
	fd, peer := rawPair(d.t, network, d.loop.SocketFlags())
	return d.attach(fd), peer
}

func rawPair(t *testing.T, network string, flags int) (fd int, peer net.Conn) {
	t.Helper()
	listener, addr := listen(t, network, 1)
	defer unix.Close(listener)
	peer = dial(t, addr)
	fd, _, err := unix.Accept4(listener, flags|unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	return fd, peer
}

// sockaddr turns an address of package net into a loop's.
func sockaddr(t *testing.T, addr net.Addr) *rawsys.Sockaddr {
	t.Helper()
	if addr, ok := addr.(*net.TCPAddr); ok {
		return rawsys.InetSockaddr(addr.AddrPort(), 0)
	}
	sa, err := rawsys.UnixSockaddr(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

// socketTo makes a socket that can be connected to addr.
func (d *driver) socketTo(addr *rawsys.Sockaddr) Slot {
	d.t.Helper()
	fd, err := unix.Socket(addr.Family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|d.loop.SocketFlags(), 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.attach(fd)
}

// awaitPoll waits until the kernel reports events for fd.
func awaitPoll(t *testing.T, fd int, events int16) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		_, err := unix.Poll(fds, int(patience/time.Millisecond))
		if fds[0].Revents&events != 0 {
			return
		}
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	t.Fatalf("poll: events %#x do not come, %#x have", events, fds[0].Revents)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
