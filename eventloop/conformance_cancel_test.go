package eventloop

import (
	"encoding/binary"
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// The cancels of accept, connect, fill and drain are with the other behaviours of these operations.
var cancelBehaviours = slices.Concat(
	on("cancel/nothing in flight", cancelNothing, streams...),
	on("cancel/recv", cancelRecv, streams...),
	on("cancel/recv again and again", cancelRecvOften, streams...),
	on("cancel/recv that has ended", cancelEndedRecv, streams...),
	on("cancel/recv while bytes come", cancelRecvRace, streams...),
	on("cancel/send half-way", cancelSend, streams...),
	on("cancel/send that has ended", cancelEndedSend, streams...),
	on("cancel/one half leaves the other", cancelOneHalf, streams...),
)

func cancelNothing(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.do(func() {
		d.loop.CancelRead(s)
		d.loop.CancelWrite(s)
	})
	d.send(s, []byte("hello")).expect(t, 5, 0)
	readString(t, peer, "hello")
	write(t, peer, []byte("hello"))
	d.recv(s).expect(t, 5, 0)
	if len(d.pending) > 0 {
		t.Fatalf("completions of nothing: %v", d.pending)
	}
}

func cancelRecv(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.startRecv(s)
	r := d.cancelRead(s, OpRecv)
	r.expect(t, 0, unix.ECANCELED)
	if r.Buffer != 0 {
		t.Errorf("a cancelled recv came with buffer %d", r.Buffer)
	}
	write(t, peer, []byte("hello"))
	if r := d.recv(s); string(r.data) != "hello" {
		t.Fatalf("received %q, %v, after a cancel", r.data, r.Err)
	}
}

// cancelRecvOften starts and cancels within one batch, from the handler too.
func cancelRecvOften(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	cancelled := 0
	done := make(chan struct{})
	d.do(func() {
		again := func() {
			d.loop.Recv(s)
			d.loop.CancelRead(s)
			d.loop.CancelRead(s)
		}
		d.hooks[s] = func(c *Completion) {
			if c.Err != unix.ECANCELED {
				t.Errorf("%v: N %d, %v", c.Op, c.N, c.Err)
			}
			if cancelled++; cancelled == 100 {
				delete(d.hooks, s)
				close(done)
				return
			}
			again()
		}
		again()
	})
	<-done
	write(t, peer, []byte("hello"))
	d.recv(s).expect(t, 5, 0)
}

// cancelEndedRecv cancels an operation whose end is known to the engine or the kernel, but not yet
// to the handler.
func cancelEndedRecv(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for range 20 {
		write(t, peer, []byte("hello"))
		d.do(func() {})
		d.do(func() {
			d.loop.Recv(s)
			d.loop.CancelRead(s)
			if d.loop.Reading(s) != OpRecv {
				t.Error("a recv is no longer in flight before its completion")
			}
		})
		r := d.await(s, OpRecv)
		if r.Err == unix.ECANCELED {
			r.expect(t, 0, unix.ECANCELED)
			r = d.recv(s)
		}
		if string(r.data) != "hello" {
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
	}
	if len(d.pending) > 0 {
		t.Fatalf("more completions than operations: %v", d.pending)
	}
}

// cancelRecvRace cancels receives while a peer writes numbers, and misses none of them.
func cancelRecvRace(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	const rounds = 500
	go func() {
		for i := range uint64(rounds) {
			peer.Write(binary.BigEndian.AppendUint64(nil, i))
		}
	}()
	var got []byte
	for len(got) < rounds*8 {
		d.do(func() { d.loop.Recv(s) })
		r := d.cancelRead(s, OpRecv)
		switch {
		case r.Err == 0 && r.N > 0:
			got = append(got, r.data...)
		case r.Err == unix.ECANCELED && r.N == 0:
		default:
			t.Fatalf("recv: N %d, %v", r.N, r.Err)
		}
	}
	for i := range uint64(rounds) {
		if n := binary.BigEndian.Uint64(got[i*8:]); n != i {
			t.Fatalf("in place of number %d came %d", i, n)
		}
	}
}

func cancelSend(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	data := randomBytes(16 << 20)
	d.startSend(s, data)
	got := newSum()
	if _, err := io.CopyN(got, peer, 100_000); err != nil {
		t.Fatal(err)
	}
	r := d.cancelWrite(s, OpSend)
	if r.Err != unix.ECANCELED || r.N < 100_000 || r.N >= len(data) {
		t.Fatalf("cancelled send: N %d, %v", r.N, r.Err)
	}
	d.startSend(s, data[r.N:])
	if _, err := io.CopyN(got, peer, int64(len(data)-got.n)); err != nil {
		t.Fatal(err)
	}
	d.await(s, OpSend).expect(t, len(data)-r.N, 0)
	if want := sumOf(data); *got != *want {
		t.Fatalf("the peer read %+v, want %+v: N of the cancelled send was %d", got, want, r.N)
	}
	d.send(s, []byte("end")).expect(t, 3, 0)
	readString(t, peer, "end")
}

func cancelEndedSend(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.do(func() {
		d.loop.Send(s, []byte("hello"))
		d.loop.CancelWrite(s)
		if d.loop.Writing(s) != OpSend {
			t.Error("a send is no longer in flight before its completion")
		}
	})
	r := d.await(s, OpSend)
	if r.N != 5 && (r.N != 0 || r.Err != unix.ECANCELED) {
		t.Fatalf("send: N %d, %v", r.N, r.Err)
	}
	d.send(s, []byte("hello!")[r.N:]).expect(t, 6-r.N, 0)
	readString(t, peer, "hello!")
}

func cancelOneHalf(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	data := randomBytes(16 << 20)
	d.startRecv(s)
	d.startSend(s, data)
	d.cancelRead(s, OpRecv).expect(t, 0, unix.ECANCELED)
	d.startRecv(s)
	got := newSum()
	if _, err := io.CopyN(got, peer, 100_000); err != nil {
		t.Fatal(err)
	}
	r := d.cancelWrite(s, OpSend)
	if r.Err != unix.ECANCELED {
		t.Fatalf("cancelled send: N %d, %v", r.N, r.Err)
	}
	write(t, peer, []byte("hello"))
	d.await(s, OpRecv).expect(t, 5, 0)
	if _, err := io.CopyN(got, peer, int64(r.N-got.n)); err != nil {
		t.Fatal(err)
	}
	if want := sumOf(data[:r.N]); *got != *want {
		t.Fatalf("the peer read %+v, want %+v", got, want)
	}
}
