package eventloop

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

var connectBehaviours = slices.Concat(
	on("connect/accepted", connectAccepted, "tcp", "tcp6", "unix"),
	on("connect/meets itself", connectMeetsItself, "127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"),
	[]behaviour{
		{"connect/refused", connectRefused},
		{"connect/no such unix socket", connectNoSuchSocket},
		{"connect/full queue of a unix socket", connectFullQueue},
		{"connect/cancelled", connectCancelled},
		{"connect/cancelled too late", connectCancelledLate},
		{"connect/receive waits from the start", connectThenReceive},
	},
)

func (d *driver) connect(s Slot, addr *rawsys.Sockaddr) { d.do(func() { d.loop.Connect(s, addr) }) }

func connectAccepted(t *testing.T, d *driver, network string) {
	listener, addr := listen(t, network, 8)
	defer unix.Close(listener)
	to := sockaddr(t, addr)
	for range 10 {
		s := d.socketTo(to)
		d.connect(s, to)
		d.await(s, OpConnect).expect(t, 0, 0)
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		d.send(s, []byte("ping")).expect(t, 4, 0)
		buffer := make([]byte, 8)
		if n, err := unix.Read(fd, buffer); err != nil || string(buffer[:n]) != "ping" {
			t.Fatalf("the peer read %q, %v", buffer[:n], err)
		}
		if _, err := unix.Write(fd, []byte("pong")); err != nil {
			t.Fatal(err)
		}
		if r := d.recv(s); string(r.data) != "pong" {
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
		unix.Close(fd)
		d.recv(s).expect(t, 0, 0)
		d.close(s)
	}
}

func connectRefused(t *testing.T, d *driver) {
	fd, addr := listen(t, "tcp", 1)
	unix.Close(fd) // the kernel does not reuse its port so soon
	to := sockaddr(t, addr)
	s := d.socketTo(to)
	d.connect(s, to)
	d.await(s, OpConnect).expect(t, 0, unix.ECONNREFUSED)
	// The error is reported once; the socket has no connection.
	d.close(s)
}

// connectMeetsItself connects from the very port that it connects to. The kernel can do so when it
// picks a source port on which no server listens. The connect counts as refused, and the port is
// free for the server once the socket is closed.
func connectMeetsItself(t *testing.T, d *driver, host string) {
	s, port := d.boundSocket(net.JoinHostPort(host, "0"))
	to := rawsys.InetSockaddr(netip.AddrPortFrom(netip.MustParseAddr(host), port), 0)
	d.connect(s, to)
	d.await(s, OpConnect).expect(t, 0, unix.ECONNREFUSED)
	d.close(s)
	server, _ := d.boundSocket(net.JoinHostPort(host, strconv.Itoa(int(port))))
	d.close(server)
}

// boundSocket makes a socket for a connect that is bound to a numeric address.
func (d *driver) boundSocket(address string) (Slot, uint16) {
	d.t.Helper()
	from := rawsys.InetSockaddr(netip.MustParseAddrPort(address), 0)
	s := d.socketTo(from)
	var fd int
	d.do(func() { fd = d.loop.FD(s) })
	if errno := from.Bind(fd); errno == unix.EADDRNOTAVAIL || errno == unix.EAFNOSUPPORT {
		d.t.Skipf("needs %s: %v", address, errno)
	} else if errno != 0 {
		d.t.Fatalf("bind %s: %v", address, errno)
	}
	local, errno := rawsys.LocalAddr(fd)
	if errno != 0 {
		d.t.Fatal(errno)
	}
	return s, local.Port()
}

func connectNoSuchSocket(t *testing.T, d *driver) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		name string
		want unix.Errno
	}{{path, unix.ENOENT}, {abstractName(), unix.ECONNREFUSED}} {
		to, err := rawsys.UnixSockaddr(c.name)
		if err != nil {
			t.Fatal(err)
		}
		s := d.socketTo(to)
		d.connect(s, to)
		d.await(s, OpConnect).expect(t, 0, c.want)
	}
}

// A unix socket's full queue is an error at once: there would be no event when there is room, and a
// blocking wait for it could not be distinguished from a server that hangs.
func connectFullQueue(t *testing.T, d *driver) {
	listener, addr := listen(t, "unix", 1)
	defer unix.Close(listener)
	to := sockaddr(t, addr)
	for range 8 {
		s := d.socketTo(to)
		d.connect(s, to)
		if r := d.await(s, OpConnect); r.Err == unix.EAGAIN {
			return
		} else if r.Err != 0 {
			t.Fatalf("connect: %v", r.Err)
		}
	}
	t.Fatal("8 connections fit into a queue of 1")
}

// connectCancelled uses a listening socket whose queue is full: Linux drops the SYNs of further
// connections.
func connectCancelled(t *testing.T, d *driver) {
	listener, addr := listen(t, "tcp", 0)
	defer unix.Close(listener)
	dial(t, addr)
	awaitPoll(t, listener, unix.POLLIN)
	to := sockaddr(t, addr)
	s := d.socketTo(to)
	d.connect(s, to)
	d.do(func() {})
	d.cancelWrite(s, OpConnect).expect(t, 0, unix.ECANCELED)
	d.close(s)
}

// connectCancelledLate: on the loopback interface, the handshake is complete before the cancel, and
// the engine has not seen that. The peer has the connection, so the connect must not look
// cancelled.
func connectCancelledLate(t *testing.T, d *driver) {
	listener, addr := listen(t, "tcp", 64)
	defer unix.Close(listener)
	to := sockaddr(t, addr)
	for range 30 {
		s := d.socketTo(to)
		d.do(func() {
			d.loop.Connect(s, to)
			d.loop.CancelWrite(s)
		})
		d.await(s, OpConnect).expect(t, 0, 0)
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		d.send(s, []byte("ping")).expect(t, 4, 0)
		unix.Close(fd)
		d.close(s)
	}
}

// connectThenReceive: an operation on either half may be started before the connection stands.
func connectThenReceive(t *testing.T, d *driver) {
	listener, addr := listen(t, "tcp", 1)
	defer unix.Close(listener)
	to := sockaddr(t, addr)
	s := d.socketTo(to)
	d.connect(s, to)
	d.await(s, OpConnect).expect(t, 0, 0)
	d.startRecv(s)
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("welcome")); err != nil {
		t.Fatal(err)
	}
	if r := d.await(s, OpRecv); string(r.data) != "welcome" {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
}
