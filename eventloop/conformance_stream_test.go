package eventloop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var receiveBehaviours = slices.Concat(
	on("recv/waits for bytes", recvWaits, streams...),
	on("recv/several in a row", recvSeveral, streams...),
	on("recv/more than a buffer", recvMuch, streams...),
	on("recv/end of stream", recvEnd, streams...),
	on("recv/bytes and FIN together", recvBytesAndEnd, streams...),
	on("recv/FIN after a short read", recvEndAfterShort, streams...),
	on("recv/reset after bytes", recvReset, streams...),
	on("recv/reset while waiting", recvResetWaiting, "tcp"),
	on("recv/urgent data does not hide what follows", recvUrgent, "tcp"),
)

var sendBehaviours = slices.Concat(
	on("send/small", sendSmall, streams...),
	on("send/64 MiB to a slow reader", sendMuch, streams...),
	on("send/both halves at once", sendAndRecv, streams...),
	on("send/after a reset", sendAfterReset, streams...),
	on("send/reset half-way", sendResetHalfway, streams...),
	on("send/after Shutdown", sendAfterShutdown, streams...),
)

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

// recvUrgent: a receive stops at the urgent mark (tcp(7)), so that a short read is not the end of what is there.
func recvUrgent(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	raw, err := peer.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	write(t, peer, []byte("before"))
	var sendErr error
	if err := raw.Control(func(fd uintptr) {
		sendErr = unix.Send(int(fd), []byte("!"), unix.MSG_OOB)
	}); err != nil || sendErr != nil {
		t.Fatal(err, sendErr)
	}
	write(t, peer, []byte("after"))
	awaitPoll(t, d.loop.FD(s), unix.POLLPRI)
	if got := d.recvExactly(s, 11); string(got) != "beforeafter" {
		t.Fatalf("received %q", got)
	}
}

func sendSmall(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for range 10 {
		d.send(s, []byte("hello")).expect(t, 5, 0)
		readString(t, peer, "hello")
	}
}

func sendMuch(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	sent := randomBytes(64 << 20)
	d.startSend(s, sent)
	d.do(func() {
		if d.loop.Writing(s) != OpSend {
			t.Error("64 MiB were taken with nobody reading")
		}
	})
	got := newSum()
	chunk := make([]byte, 48<<10)
	for range len(sent) / (16 << 10) {
		n, err := peer.Read(chunk[:16<<10])
		if err != nil {
			t.Fatal(err)
		}
		got.Write(chunk[:n])
		if got.n == len(sent) {
			break
		}
	}
	for got.n < len(sent) {
		n, err := peer.Read(chunk)
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.n, err)
		}
		got.Write(chunk[:n])
	}
	d.await(s, OpSend).expect(t, len(sent), 0)
	if want := sumOf(sent); *got != *want {
		t.Fatalf("the peer read %+v, want %+v", got, want)
	}
}

func sendAndRecv(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	big := randomBytes(4 << 20)
	d.startSend(s, big)
	write(t, peer, []byte("request"))
	if r := d.await(s, OpRecv); string(r.data) != "request" {
		t.Fatalf("received %q, %v, while a send waits", r.data, r.Err)
	}
	d.startRecv(s)
	readString(t, peer, string(big))
	d.await(s, OpSend).expect(t, len(big), 0)
	finish(t, peer)
	d.await(s, OpRecv).expect(t, 0, 0)
}

func sendAfterReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.reset(s, peer)
	r := d.send(s, []byte("hello"))
	if r.N != 0 || r.Err != unix.EPIPE && r.Err != unix.ECONNRESET {
		t.Fatalf("send after a reset: N %d, %v", r.N, r.Err)
	}
}

func sendResetHalfway(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	const size, read = 64 << 20, 1 << 20
	d.startSend(s, make([]byte, size))
	if _, err := io.CopyN(io.Discard, peer, read); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := peer.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	peer.Close()
	r := d.await(s, OpSend)
	if r.N < read || r.N >= size || r.Err != unix.EPIPE && r.Err != unix.ECONNRESET {
		t.Fatalf("send: N %d, %v, after the peer read %d bytes and went", r.N, r.Err, read)
	}
}

func sendAfterShutdown(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.send(s, []byte("bye")).expect(t, 3, 0)
	d.do(func() {
		if errno := d.loop.Shutdown(s); errno != 0 {
			t.Errorf("Shutdown: %v", errno)
		}
	})
	readString(t, peer, "bye")
	if n, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the peer read %d bytes, %v, after Shutdown", n, err)
	}
	d.send(s, []byte("more")).expect(t, 0, unix.EPIPE)
	write(t, peer, []byte("answer"))
	if r := d.recv(s); string(r.data) != "answer" {
		t.Fatalf("received %q, %v, after Shutdown of the writing half", r.data, r.Err)
	}
}
