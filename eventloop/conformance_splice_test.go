package eventloop

import (
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var spliceBehaviours = slices.Concat(
	[]behaviour{{"splice/256 MiB both ways at once", func(t *testing.T, d *driver) {
		d.exchange("tcp", 256<<20, always, always)
	}}},
	on("splice/both ways", func(_ *testing.T, d *driver, network string) {
		d.exchange(network, 16<<20, always, always)
	}, streams...),
	on("splice/not at all", func(_ *testing.T, d *driver, network string) {
		d.exchange(network, 16<<20, never, never)
	}, streams...),
	on("splice/one way, buffers the other", func(_ *testing.T, d *driver, network string) {
		d.exchange(network, 16<<20, always, never)
	}, streams...),
	on("splice/on and off mid-stream", func(_ *testing.T, d *driver, network string) {
		d.exchange(network, 16<<20, alternating(300_000), alternating(200_000))
	}, streams...),
	on("splice/end of stream", fillEnd, streams...),
	on("splice/reset", fillReset, "tcp"),
	on("splice/drain to a peer that is gone", drainAfterReset, streams...),
	on("splice/drain to a peer that is gone completes before the end", drainErrorBeforeEnd, "tcp"),
	on("splice/drain cancelled half-way", drainCancelled, streams...),
	on("splice/fill cancelled", fillCancelled, streams...),
)

func (d *driver) returnPipe(p *Pipe) { d.do(func() { d.loop.ReturnPipe(p) }) }

func (d *driver) startFill(s Slot)           { d.do(func() { d.loop.Fill(s) }) }
func (d *driver) startDrain(s Slot, p *Pipe) { d.do(func() { d.loop.Drain(s, p) }) }

// filled awaits the end of a fill that brings n bytes in a pipe.
func (d *driver) filled(s Slot, n int) *Pipe {
	d.t.Helper()
	r := d.await(s, OpFill)
	r.expect(d.t, n, 0)
	if r.Pipe == nil || r.Pipe.N != n {
		d.t.Fatalf("%d bytes came in the pipe %+v", n, r.Pipe)
	}
	return r.Pipe
}

// forward sends on what a fill has brought, in whichever form it came.
func (d *driver) forward(filled result, to Slot) {
	d.t.Helper()
	if filled.Pipe == nil {
		d.send(to, filled.data).expect(d.t, filled.N, 0)
		return
	}
	if filled.Pipe.N != filled.N {
		d.t.Fatalf("a pipe with %d bytes counts %d", filled.N, filled.Pipe.N)
	}
	d.startDrain(to, filled.Pipe)
	d.await(to, OpDrain).expect(d.t, filled.N, 0)
}

func fillEnd(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.spliced(s, true)
	d.startFill(s)
	write(t, peer, []byte("hello"))
	p := d.filled(s, 5)
	d.startDrain(s, p)
	d.await(s, OpDrain).expect(t, 5, 0)
	d.returnPipe(p)
	readString(t, peer, "hello")
	finish(t, peer)
	for range 2 {
		d.startFill(s)
		d.await(s, OpFill).expect(t, 0, 0)
	}
	d.spliced(s, false)
	d.recv(s).expect(t, 0, 0)
}

func fillReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.spliced(s, true)
	d.startFill(s)
	d.reset(s, peer)
	d.await(s, OpFill).expect(t, 0, unix.ECONNRESET)
}

func drainAfterReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	to, gone := d.pair(network)
	d.reset(to, gone)
	d.spliced(s, true)
	d.spliced(to, true)
	write(t, peer, []byte("hello"))
	d.startFill(s)
	p := d.filled(s, 5)
	d.startDrain(to, p)
	r := d.await(to, OpDrain)
	if r.N != 0 || r.Err != unix.EPIPE && r.Err != unix.ECONNRESET {
		t.Fatalf("drain to a peer that is gone: N %d, %v", r.N, r.Err)
	}
	d.returnPipe(p)
}

// drainCancelled drains into a socket until that takes no more, cancels, and drains the rest when
// there is room.
func drainCancelled(t *testing.T, d *driver, network string) {
	s, source := d.pair(network)
	to, sink := d.pair(network)
	d.spliced(s, true)
	d.spliced(to, true)
	var p *Pipe
	sent := newSum()
	block := randomBytes(1<<20 + 7)
	go func() {
		for {
			if _, err := source.Write(block); err != nil {
				return // closed at the end of the test
			}
		}
	}()
	total := 0
	for stuck := false; !stuck; {
		d.startFill(s)
		filled := d.await(s, OpFill)
		p = filled.Pipe
		n := filled.N
		total += n
		d.startDrain(to, p)
		d.do(func() {}) // the attempt has been made
		d.do(func() { stuck = d.loop.Writing(to) == OpDrain && !d.loop.table.at(to).out.ended })
		if !stuck {
			d.await(to, OpDrain).expect(t, n, 0)
			d.returnPipe(p)
			continue
		}
		r := d.cancelWrite(to, OpDrain)
		if r.Err != unix.ECANCELED || r.N+p.N != n {
			t.Fatalf("cancelled drain: N %d, %v, and %d of %d bytes are in the pipe", r.N, r.Err, p.N, n)
		}
	}
	for left := total; left > 0; left -= min(left, len(block)) {
		sent.Write(block[:min(left, len(block))])
	}
	rest := p.N
	d.startDrain(to, p)
	got := newSum()
	if _, err := io.CopyN(got, sink, int64(total)); err != nil {
		t.Fatal(err)
	}
	d.await(to, OpDrain).expect(t, rest, 0)
	if *got != *sent {
		t.Fatalf("the peer read %+v, want %+v", got, sent)
	}
	d.returnPipe(p)
}

func fillCancelled(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.spliced(s, true)
	d.startFill(s)
	d.cancelRead(s, OpFill).expect(t, 0, unix.ECANCELED)
	write(t, peer, []byte("hello"))
	d.startFill(s)
	p := d.filled(s, 5)
	d.startDrain(s, p)
	d.await(s, OpDrain).expect(t, 5, 0)
	readString(t, peer, "hello")
	d.spliced(s, false)
	write(t, peer, []byte("again"))
	if r := d.recv(s); string(r.data) != "again" {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
	d.returnPipe(p)
}

// drainErrorBeforeEnd: the write takes the error from the socket, and the receive in flight finds
// the end after it.
func drainErrorBeforeEnd(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	from, source := d.pair(network)
	d.startRecv(s)
	d.spliced(s, true)
	d.spliced(from, true)
	d.startFill(from)
	write(t, source, []byte("hello"))
	filled := d.await(from, OpFill)
	d.do(func() {
		_ = peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
		awaitPoll(t, d.loop.FD(s), unix.POLLHUP)
		d.loop.Drain(s, filled.Pipe)
	})
	for i, want := range []Op{OpDrain, OpRecv} {
		for len(d.pending) <= i {
			d.take()
		}
		if r := d.pending[i]; r.Op != want || want == OpDrain && r.Err == 0 {
			t.Fatalf("completion %d is that of %v, with N %d, %v; want %v first, with an error", i, r.Op, r.N, r.Err, OpDrain)
		}
	}
	d.returnPipe(filled.Pipe)
	d.spliced(from, false)
	d.spliced(s, false)
}
