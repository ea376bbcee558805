package eventloop

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

var receiveBehaviours = slices.Concat(
	on("recv/waits for bytes", recvWaits, streams...),
	on("recv/several in a row", recvSeveral, streams...),
	on("recv/more than a buffer", recvMuch, streams...),
	on("recv/end of stream", recvEnd, streams...),
	on("recv/bytes and FIN together", recvBytesAndEnd, streams...),
	on("recv/FIN after a short read", recvEndAfterShort, streams...),
	on("recv/reset after bytes", recvReset, streams...),
	on("recv/reset between two receives", recvResetBetween, streams...),
	on("recv/end right behind the last bytes", recvEndBehindBytes, streams...),
	on("recv/ahead of Recv", recvAhead, streams...),
	on("recv/once takes nothing ahead", recvOnce, streams...),
	on("recv/reset while waiting", recvResetWaiting, "tcp"),
	on("recv/urgent data does not hide what follows", recvUrgent, "tcp"),
	on("recv/urgent bytes alone, while signals come", recvUrgentAmongSignals, "tcp"),
)

// recvOnce: what comes after the bytes stays in the socket, so that a watch and a receive outside
// of the loop find it, and the next Recv of any kind continues.
func recvOnce(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	once := func(want string) {
		t.Helper()
		d.do(func() { d.loop.RecvOnce(s) })
		write(t, peer, []byte(want))
		if r := d.await(s, OpRecv); string(r.data) != want {
			t.Fatalf("received %q, %v, want %q", r.data, r.Err, want)
		}
	}
	once("one")
	once("two")
	write(t, peer, []byte("three"))
	awaitPoll(t, d.loop.FD(s), unix.POLLIN)
	d.do(func() {
		if d.loop.Ahead(s) {
			t.Error("bytes may have come ahead")
		}
	})
	if n := rawsys.Unread(d.loop.FD(s)); n != len("three") {
		t.Errorf("%d bytes are left in the socket", n)
	}
	d.startWatch(s, true)
	d.cancelRead(s, OpWatch).expect(t, 0, unix.ECANCELED)
	if r := d.recv(s); string(r.data) != "three" {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
	d.do(func() { d.loop.RecvOnce(s) })
	d.cancelRead(s, OpRecv).expect(t, 0, unix.ECANCELED)
	finish(t, peer)
	d.recv(s).expect(t, 0, 0)
}

func write(t *testing.T, peer net.Conn, p []byte) {
	t.Helper()
	if _, err := peer.Write(p); err != nil {
		t.Fatal(err)
	}
}

// readString reads what is expected next from the loop.
func readString(t *testing.T, peer net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != want {
		t.Fatalf("the peer read %q, %v; want %q", got, err, want)
	}
}

// finish sends a FIN.
func finish(t *testing.T, peer net.Conn) {
	t.Helper()
	if err := peer.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// reset ends the connection of s in a way that its next operation has to report.
func (d *driver) reset(s Slot, peer net.Conn) {
	d.t.Helper()
	switch peer := peer.(type) {
	case *net.TCPConn:
		peer.SetLinger(0)
	case *net.UnixConn: // closed with bytes unread
		d.send(s, []byte("x")).expect(d.t, 1, 0)
	}
	peer.Close()
	awaitPoll(d.t, d.loop.FD(s), unix.POLLHUP)
}

func recvWaits(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	write(t, peer, []byte("hello"))
	if r := d.await(s, OpRecv); string(r.data) != "hello" || r.Err != 0 {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
}

func recvSeveral(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for i := range 100 {
		message := bytes.Repeat([]byte{byte(i)}, 1+i*13)
		if i%2 == 0 {
			d.startRecv(s)
			write(t, peer, message)
		} else {
			write(t, peer, message)
			d.startRecv(s)
		}
		got := d.await(s, OpRecv).data
		got = append(got, d.recvExactly(s, len(message)-len(got))...)
		if !bytes.Equal(got, message) {
			t.Fatalf("message %d: received %d bytes of %d, or others", i, len(got), len(message))
		}
	}
}

func recvMuch(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	sent := randomBytes(10*BufferSize + 1)
	go peer.Write(sent)
	if got := d.recvExactly(s, len(sent)); !bytes.Equal(got, sent) {
		t.Fatal("other bytes than were sent")
	}
}

func recvEnd(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	finish(t, peer)
	r := d.await(s, OpRecv)
	r.expect(t, 0, 0)
	if r.Buffer != 0 {
		t.Errorf("the end of the stream came with buffer %d", r.Buffer)
	}
	d.recv(s).expect(t, 0, 0)
	d.send(s, []byte("still")).expect(t, 5, 0)
	readString(t, peer, "still")
}

func recvBytesAndEnd(t *testing.T, d *driver, network string) {
	for _, inFlight := range []bool{true, false} {
		s, peer := d.pair(network)
		if inFlight {
			d.startRecv(s)
		}
		write(t, peer, []byte("last words"))
		finish(t, peer)
		if !inFlight {
			awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
			d.startRecv(s)
		}
		if r := d.await(s, OpRecv); string(r.data) != "last words" || r.Err != 0 {
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
		d.recv(s).expect(t, 0, 0)
		d.recv(s).expect(t, 0, 0)
	}
}

func recvEndAfterShort(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	write(t, peer, []byte("hello"))
	if r := d.await(s, OpRecv); string(r.data) != "hello" {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
	finish(t, peer)
	awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
	d.do(func() {}) // the loop waits once more, with no operation on the socket
	d.do(func() {})
	d.recv(s).expect(t, 0, 0)
}

func recvReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	write(t, peer, []byte("before"))
	d.reset(s, peer)
	if r := d.recv(s); string(r.data) != "before" || r.Err != 0 {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
	d.recv(s).expect(t, 0, unix.ECONNRESET)
}

func recvResetWaiting(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	d.reset(s, peer)
	r := d.await(s, OpRecv)
	r.expect(t, 0, unix.ECONNRESET)
	if r.Buffer != 0 {
		t.Errorf("the error came with buffer %d", r.Buffer)
	}
}

// recvResetBetween: what comes while no receive is in flight is reported by the next ones, in
// order.
func recvResetBetween(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	write(t, peer, []byte("first"))
	d.recv(s).expect(t, 5, 0)
	write(t, peer, []byte("second"))
	d.do(func() {})
	d.reset(s, peer)
	d.do(func() {})
	if got := d.recvExactly(s, 6); string(got) != "second" {
		t.Fatalf("received %q", got)
	}
	d.recv(s).expect(t, 0, unix.ECONNRESET)
}

// recvEndBehindBytes: an end of a stream that comes together with the last bytes is reported,
// whatever earlier receives have taken.
func recvEndBehindBytes(t *testing.T, d *driver, network string) {
	ends := []struct {
		name  string
		end   func(s Slot, peer net.Conn)
		errno unix.Errno
	}{
		{"FIN", func(s Slot, peer net.Conn) {
			finish(t, peer)
			awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
		}, 0},
		{"reset", d.reset, unix.ECONNRESET},
	}
	for _, end := range ends {
		for _, before := range [][]int{nil, {100}, {BufferSize}, {BufferSize, 100}, {100, BufferSize}} {
			for _, inFlight := range []bool{false, true} {
				s, peer := d.pair(network)
				for _, n := range before {
					write(t, peer, randomBytes(n))
					d.recvExactly(s, n)
				}
				last := func() {
					write(t, peer, randomBytes(50))
					end.end(s, peer)
				}
				var r result
				if inFlight {
					d.startRecv(s)
					if network == "unix" && end.errno != 0 { // this reset needs the loop
						last()
					} else {
						d.do(last) // the loop finds both together when it waits next
					}
					r = d.await(s, OpRecv)
				} else {
					last()
					r = d.recv(s)
				}
				if r.N != 50 || r.Err != 0 {
					t.Fatalf("%s after receives of %v: received %d bytes of 50, %v", end.name, before, r.N, r.Err)
				}
				d.recv(s).expect(t, 0, end.errno)
			}
		}
	}
}

// recvAhead: a sender may not fill the loop's memory while the handler does not receive.
func recvAhead(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	sent := randomBytes(12 << 20)
	done := make(chan error, 1)
	go func() {
		_, err := peer.Write(sent)
		done <- err
	}()
	got := newSum()
	for got.n < len(sent) {
		r := d.recv(s)
		if r.Err != 0 || r.N == 0 {
			t.Fatalf("after %d bytes: N %d, %v", got.n, r.N, r.Err)
		}
		got.Write(r.data)
		for range 3 { // the loop goes round with nothing asked for
			d.do(func() {})
		}
		d.do(func() {
			if held := d.heldBuffers(); held > 40 {
				t.Errorf("%d buffers are in use with no receive in flight", held)
			}
		})
		if got.n > 1<<20 { // the rest quickly
			got.Write(d.recvExactly(s, len(sent)-got.n))
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := sumOf(sent); *got != *want {
		t.Fatalf("received %+v, want %+v", got, want)
	}
}

// heldBuffers is for the loop's thread.
func (d *driver) heldBuffers() int {
	switch e := d.loop.engine.(type) {
	case *epoll:
		return len(e.buffers.memory) - len(e.buffers.free) - len(e.buffers.bare)
	case *uring:
		return e.buffers.out
	}
	return 0
}

// sendUrgent sends p, the last byte of it as urgent data (tcp(7)).
func sendUrgent(t *testing.T, peer net.Conn, p string) {
	t.Helper()
	raw, err := peer.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = unix.Send(int(fd), []byte(p), unix.MSG_OOB) }); err != nil || sendErr != nil {
		t.Fatal(err, sendErr)
	}
}

// recvUrgent: a receive stops at the urgent mark (tcp(7)), so that a short read is not the end of
// what is there.
func recvUrgent(t *testing.T, d *driver, network string) {
	for _, inline := range []bool{false, true} {
		s, peer := d.pair(network)
		want := "beforeafter"
		if inline {
			rawsys.SetInt(d.loop.FD(s), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
			want = "before!after"
		}
		write(t, peer, []byte("before"))
		sendUrgent(t, peer, "!")
		write(t, peer, []byte("after"))
		awaitPoll(t, d.loop.FD(s), unix.POLLPRI)
		if got := d.recvExactly(s, len(want)); string(got) != want {
			t.Fatalf("received %q, want %q", got, want)
		}
	}
}

// recvUrgentAmongSignals: at the urgent mark, the kernel fails a receive with EAGAIN while a signal
// is pending, and no event follows (tcp_recvmsg_locked in net/ipv4/tcp.c). The Go runtime sends
// signals to preempt goroutines.
func recvUrgentAmongSignals(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	rawsys.SetInt(d.loop.FD(s), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	thread := 0
	d.do(func() { thread = unix.Gettid() })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 200 {
		d.startRecv(s)
		sendUrgent(t, peer, "!")
		if r := d.await(s, OpRecv); string(r.data) != "!" || r.Err != 0 {
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
	}
}
