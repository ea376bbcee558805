package health

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// freePort is the address of a port on which nothing listens, and which is not bound either.
func freePort(t *testing.T, ip string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr)
}

// canBind checks that a server can take addr: nothing is left there, not even in TIME_WAIT.
func canBind(t *testing.T, addr *net.TCPAddr) {
	t.Helper()
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		t.Errorf("the server of %v cannot bind its port: %v", addr, err)
		return
	}
	l.Close()
}

// In these tests the check's socket is bound to the port to which it connects. The kernel chooses
// it by itself if it lies in ip_local_port_range, which TestFaultSelfConnectOfChecks in package
// faults waits for.

func TestProberTakesSelfConnectsAsRefused(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			p := newProbes(t)
			addr := freePort(t, ip)
			sa := sockaddrOf(addr)
			i, errno := p.take(sa.Family())
			if errno != 0 {
				t.Fatal(errno)
			}
			var local unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: addr.Port}
			if sa.Family() == unix.AF_INET6 {
				local = &unix.SockaddrInet6{Addr: [16]byte(addr.IP.To16()), Port: addr.Port}
			}
			if err := unix.Bind(int(p.probes[i].fd), local); err != nil {
				t.Fatal(err)
			}
			p.rest(i)
			if probe := p.begin(0, addr); probe >= 0 {
				t.Fatal("a check that connects to itself is under way")
			}
			if p.results[0] != unix.ECONNREFUSED {
				t.Errorf("a check that connects to itself: %v, want %v", p.results[0], unix.ECONNREFUSED)
			}
			canBind(t, addr)
			p.begin(1, addrOf(t, "tcp", testnet.Listen(t, "tcp", net.JoinHostPort(ip, "0")).Addr))
			p.finish()
			if p.results[1] != 0 {
				t.Errorf("the next check: %v", p.results[1])
			}
		})
	}
}

func TestOtherChecksTakeSelfConnectsAsRefused(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		testnet.SameFiles(t)
		addr := freePort(t, ip)
		conn, err := dial(t.Context(), net.Dialer{LocalAddr: addr}, addr)
		if conn != nil || failed(t.Context(), "connect", err).Error() != "connect: connection refused" {
			t.Errorf("a check that connects to itself has %v, %v", conn, err)
		}
		canBind(t, addr)
	}
}

// TestBusyUnixSocketIsWaitedFor checks a server whose queue is full at first, and which accepts
// connections later.
func TestBusyUnixSocketIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	addr := addrOf(t, "unix", path)
	for _, checker := range []Checker{NewTCP(), NewExpect(nil)} {
		fill(t, path)
		ctx, cancel := context.WithTimeout(t.Context(), 5*busyPause)
		wantError(t, "a queue that stays full", checker.Check(ctx, addr, ""), "connect: no answer in time")
		cancel()
		result := make(chan error)
		go func() { result <- check(t, checker, addr) }()
		for range 2 { // the filler and the check
			c, _, err := unix.Accept(fd)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(c)
		}
		wantError(t, "a queue with room again", <-result, "")
	}
}

// fill connects to the server at path, whose queue is full then.
func fill(t *testing.T, path string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		t.Fatal("the queue is not full")
	}
}
