package eventloop

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var acceptBehaviours = slices.Concat(
	on("accept/many", acceptMany, "tcp", "tcp6", "unix"),
	on("accept/cancelled accepts no more", acceptCancelled, streams...),
	on("accept/connection reset in the queue", acceptReset, "tcp"),
	on("accept/out of descriptors", acceptWithoutDescriptors, streams...),
	on("accept/listening socket in either mode", acceptModes, streams...),
	[]behaviour{{"accept/listening socket shut down", acceptShutDown}},
)

func acceptMany(t *testing.T, d *driver, network string) {
	const connections = 200
	fd, addr := listen(t, network, connections)
	s := d.attach(fd)
	d.accept(s)
	dialled := make(map[netip.AddrPort]bool)
	for range connections {
		peer := dial(t, addr)
		if local, ok := peer.LocalAddr().(*net.TCPAddr); ok {
			dialled[local.AddrPort()] = true
		}
	}
	for range connections {
		r := d.await(s, OpAccept)
		if r.Err != 0 || !r.More {
			t.Fatalf("accept: error %q, More %v", r.Err, r.More)
		}
		unix.Close(r.FD)
		if network == "unix" {
			if r.Peer.IsValid() {
				t.Fatalf("a unix socket's peer is %v", r.Peer)
			}
		} else if !dialled[r.Peer] {
			t.Fatalf("peer %v did not dial, or was accepted twice", r.Peer)
		}
		delete(dialled, r.Peer)
	}
}

func acceptCancelled(t *testing.T, d *driver, network string) {
	fd, addr := listen(t, network, 8)
	s := d.attach(fd)
	d.accept(s)
	dial(t, addr)
	unix.Close(d.await(s, OpAccept).FD)
	if r := d.cancelRead(s, OpAccept); r.Err != unix.ECANCELED || r.More {
		t.Fatalf("cancelled accept: error %q, More %v", r.Err, r.More)
	}

	// The next client belongs to the next accept: here the test's, then the loop's again.
	dial(t, addr)
	awaitPoll(t, fd, unix.POLLIN)
	d.do(func() {})
	taken, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatalf("a connection was accepted after the cancel: %v", err)
	}
	unix.Close(taken)
	dial(t, addr)
	awaitPoll(t, fd, unix.POLLIN)
	d.accept(s)
	r := d.await(s, OpAccept)
	if r.Err != 0 || !r.More {
		t.Fatalf("accept after a cancel: error %q, More %v", r.Err, r.More)
	}
	unix.Close(r.FD)
}

// acceptReset: the connection may be delivered or passed over, but it is not an error of the
// listening socket.
func acceptReset(t *testing.T, d *driver, network string) {
	fd, addr := listen(t, network, 8)
	s := d.attach(fd)
	gone := dial(t, addr)
	gone.(*net.TCPConn).SetLinger(0)
	gone.Close()
	last := dial(t, addr).LocalAddr().(*net.TCPAddr).AddrPort()
	d.accept(s)
	for {
		r := d.await(s, OpAccept)
		if r.Err != 0 || !r.More {
			t.Fatalf("accept: error %q, More %v", r.Err, r.More)
		}
		unix.Close(r.FD)
		if r.Peer == last {
			return
		}
	}
}

func acceptWithoutDescriptors(t *testing.T, d *driver, network string) {
	fd, addr := listen(t, network, 8)
	s := d.attach(fd)
	peer := dial(t, addr)
	awaitPoll(t, fd, unix.POLLIN)

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0 // concerns new descriptors only
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	d.accept(s)
	r := d.await(s, OpAccept)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if r.Err != unix.EMFILE || r.More {
		t.Fatalf("accept without descriptors: error %q, More %v", r.Err, r.More)
	}

	d.accept(s)
	r = d.await(s, OpAccept)
	if r.Err != 0 || !r.More {
		t.Fatalf("accept with descriptors again: error %q, More %v", r.Err, r.More)
	}
	accepted := d.attach(r.FD)
	d.send(accepted, []byte("x")).expect(t, 1, 0)
	readString(t, peer, "x")
}

func acceptModes(t *testing.T, d *driver, network string) {
	for _, nonblocking := range []bool{false, true} {
		fd, addr := listen(t, network, 8)
		if err := unix.SetNonblock(fd, nonblocking); err != nil {
			t.Fatal(err)
		}
		s := d.attach(fd)
		d.accept(s)
		for range 3 {
			dial(t, addr)
			r := d.await(s, OpAccept)
			if r.Err != 0 || !r.More {
				t.Fatalf("nonblocking %v: error %q, More %v", nonblocking, r.Err, r.More)
			}
			unix.Close(r.FD)
		}
	}
}

// acceptShutDown: shutdown(2) of a listening socket, by another process that has it, ends its
// listening.
func acceptShutDown(t *testing.T, d *driver) {
	fd, _ := listen(t, "tcp", 8)
	s := d.attach(fd)
	d.accept(s)
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	if r := d.await(s, OpAccept); r.Err != unix.EINVAL || r.More {
		t.Fatalf("accept: error %q, More %v", r.Err, r.More)
	}
}
