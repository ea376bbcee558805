package eventloop

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var sendBehaviours = slices.Concat(
	on("send/small", sendSmall, streams...),
	on("send/64 MiB to a slow reader", sendMuch, streams...),
	on("send/both halves at once", sendAndRecv, streams...),
	on("send/after a reset", sendAfterReset, streams...),
	on("send/reset half-way", sendResetHalfway, streams...),
	on("send/reset half-way is no end of stream", sendResetIsNoEnd, streams...),
	on("send/after Shutdown", sendAfterShutdown, streams...),
)

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
			t.Error("64 MiB were sent although the peer does not read")
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

// sendResetIsNoEnd: when the peer resets the connection while a send waits, the receive beside it
// does not complete as if the stream had ended before an error was reported.
func sendResetIsNoEnd(t *testing.T, d *driver, network string) {
	for i := range 10 {
		s, peer := d.pair(network)
		if network == "unix" { // closed with this byte unread, it resets
			d.send(s, []byte("x")).expect(t, 1, 0)
		}
		if i%2 == 0 { // the kernel wakes them in the order in which they began to wait, or in reverse
			d.startRecv(s)
		}
		d.startSend(s, make([]byte, 16<<20))
		if i%2 == 1 {
			d.startRecv(s)
		}
		if network == "tcp" {
			_ = peer.(*net.TCPConn).SetLinger(0)
		}
		peer.Close()
		for failed := false; !failed; {
			d.take()
			r := d.pending[len(d.pending)-1]
			if r.Slot != s { // from an earlier round
				continue
			}
			if failed = r.Err != 0; !failed {
				t.Fatalf("%v completed first, with N %d and no error", r.Op, r.N)
			}
		}
	}
}
