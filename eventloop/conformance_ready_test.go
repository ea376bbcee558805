package eventloop

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

var readyBehaviours = slices.Concat(
	on("ready/bytes, before the wait or during it", readyBytes, streams...),
	on("ready/end of stream", readyEnd, streams...),
	on("ready/reset", readyReset, "tcp"),
	on("ready/cancel", readyCancel, streams...),
	on("ready/after a receive that was cancelled", readyAfterRecv, streams...),
	on("recv now/no more than is asked for", recvNowBounded, streams...),
	on("recv now/does not wait", recvNowEmpty, streams...),
	on("recv now/end of stream and reset", recvNowEnd, streams...),
	on("fill now/no more than is asked for, and does not wait", fillNow, streams...),
)

func (d *driver) startReady(s Slot) { d.do(func() { d.loop.Ready(s) }) }

func (d *driver) ready(s Slot) {
	d.t.Helper()
	d.startReady(s)
	d.await(s, OpReady).expect(d.t, 0, 0)
}

func (d *driver) recvNow(s Slot, most int) result {
	d.t.Helper()
	d.do(func() { d.loop.RecvNow(s, most) })
	return d.await(s, OpRecv)
}

func readyBytes(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for range 3 {
		d.startReady(s)
		write(t, peer, []byte("hello"))
		d.await(s, OpReady).expect(t, 0, 0)
		if got := rawsys.Unread(d.loop.FD(s)); got != 5 {
			t.Fatalf("the wait has left %d bytes of 5", got)
		}
		d.ready(s) // they are still there
		if got := d.recvExactly(s, 5); string(got) != "hello" {
			t.Fatalf("received %q", got)
		}
		if r := d.recvNow(s, 1); r.Err != unix.ECANCELED { // so that no stream is left
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
	}
}

func readyEnd(t *testing.T, d *driver, network string) {
	for _, before := range []bool{true, false} {
		s, peer := d.pair(network)
		if before {
			finish(t, peer)
			awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
			d.ready(s)
		} else {
			d.startReady(s)
			finish(t, peer)
			d.await(s, OpReady).expect(t, 0, 0)
		}
		d.recvNow(s, 100).expect(t, 0, 0)
	}
}

func readyReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startReady(s)
	d.reset(s, peer)
	d.await(s, OpReady).expect(t, 0, 0)
	d.recvNow(s, 100).expect(t, 0, unix.ECONNRESET)
}

func readyCancel(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startReady(s)
	d.cancelRead(s, OpReady).expect(t, 0, unix.ECANCELED)
	write(t, peer, []byte("hello"))
	d.ready(s)
	if got := d.recvExactly(s, 5); string(got) != "hello" {
		t.Fatalf("received %q", got)
	}
}

// readyAfterRecv: what an ordinary receive has left in flight in the engine is found too.
func readyAfterRecv(t *testing.T, d *driver, network string) {
	for _, message := range []string{"more", ""} {
		s, peer := d.pair(network)
		write(t, peer, []byte("hello"))
		if got := d.recvExactly(s, 5); string(got) != "hello" { // a stream stays in flight
			t.Fatalf("received %q", got)
		}
		d.startReady(s)
		if message == "" {
			finish(t, peer)
		} else {
			write(t, peer, []byte(message))
		}
		d.await(s, OpReady).expect(t, 0, 0)
		r := d.recvNow(s, 100)
		r.expect(t, len(message), 0)
		if string(r.data) != message {
			t.Fatalf("received %q", r.data)
		}
	}
	s, peer := d.pair(network)
	write(t, peer, []byte("hello"))
	d.recvExactly(s, 5)
	d.startReady(s)
	if r := d.cancelRead(s, OpReady); r.Err != unix.ECANCELED && r.Err != 0 { // 0: it may find nothing
		t.Fatalf("ready: %v", r.Err)
	}
	write(t, peer, []byte("again"))
	d.ready(s)
	if got := d.recvExactly(s, 5); string(got) != "again" {
		t.Fatalf("received %q", got)
	}
}

func recvNowBounded(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	sent := randomBytes(3 * BufferSize)
	go peer.Write(sent)
	var got []byte
	for most := 1; len(got) < len(sent); most = most*3 + 1 {
		d.ready(s)
		r := d.recvNow(s, most)
		if r.Err != 0 || r.N > min(most, BufferSize) || r.N == 0 {
			t.Fatalf("received %d bytes, %v; want %d at most", r.N, r.Err, most)
		}
		got = append(got, r.data...)
	}
	if !slices.Equal(got, sent) {
		t.Fatal("other bytes than were sent")
	}
}

func recvNowEmpty(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for range 2 {
		d.recvNow(s, 100).expect(t, 0, unix.ECANCELED)
	}
	d.startReady(s)
	write(t, peer, []byte("hello"))
	d.await(s, OpReady).expect(t, 0, 0)
	d.recvNow(s, 100).expect(t, 5, 0)
}

func recvNowEnd(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	write(t, peer, []byte("hello"))
	finish(t, peer)
	awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
	d.recvNow(s, 2).expect(t, 2, 0)
	d.ready(s)
	d.recvNow(s, 100).expect(t, 3, 0)
	d.ready(s)
	d.recvNow(s, 100).expect(t, 0, 0)
}

func fillNow(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	other, reader := d.pair(network)
	for _, so := range []Slot{s, other} {
		d.spliced(so, true)
	}
	fill := func(most int) result {
		d.do(func() { d.loop.FillNow(s, most) })
		return d.await(s, OpFill)
	}
	fill(100).expect(t, 0, unix.ECANCELED)
	d.startReady(s)
	write(t, peer, []byte("hello, world"))
	d.await(s, OpReady).expect(t, 0, 0)
	for _, part := range []string{"hello", ", worl", "d"} {
		d.ready(s)
		r := fill(len(part))
		r.expect(t, len(part), 0)
		d.forward(r, other)
		if r.Pipe != nil {
			d.returnPipe(r.Pipe)
		}
		readString(t, reader, part)
	}
	fill(100).expect(t, 0, unix.ECANCELED)
	finish(t, peer)
	d.ready(s)
	fill(100).expect(t, 0, 0)
}
