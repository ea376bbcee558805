package testnet

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Refusing returns the address of a port that is bound but has no listener: connections are
// refused.
func Refusing(t testing.TB) string {
	t.Helper()
	_, addr := boundSocket(t)
	return addr.String()
}

// Silent returns the address of a socket whose accept queue stays full: the kernel drops every
// further SYN.
func Silent(t testing.TB) string {
	t.Helper()
	fd, addr := boundSocket(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	// A backlog of 0 leaves room for one connection. Without waiting for it, a few more may get in.
	for range 3 {
		filler, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(filler) })
		sa := &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
		if err := unix.Connect(filler, sa); err != unix.EINPROGRESS && err != nil {
			t.Fatal(err)
		}
	}
	// Check that it does not answer: no reply within 50 ms.
	probe, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(probe)
	_ = unix.Connect(probe, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
	fds := []unix.PollFd{{Fd: int32(probe), Events: unix.POLLOUT}}
	if n, _ := unix.Poll(fds, int(50*time.Millisecond/time.Millisecond)); n > 0 {
		t.Fatalf("%v answers although its queue is full", addr)
	}
	return addr.String()
}

func boundSocket(t testing.TB) (fd int, addr netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := sa.(*unix.SockaddrInet4)
	return fd, netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}
