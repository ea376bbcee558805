package eventloop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var socketBehaviours = slices.Concat(
	on("socket/whatever its mode", socketModes, streams...),
	on("socket/changes its slot and loop", socketMoves, streams...),
	on("socket/leaves in the middle of a stream", socketLeaves, streams...),
	on("socket/a pipe is emptied", pipeEmptied, streams...),
	on("socket/slots are used again", socketSlots, streams...),
	on("socket/Close", socketClose, streams...),
	on("socket/Reset", socketReset, "tcp"),
	[]behaviour{{"socket/2000 hold a buffer each", buffersHeld}},
)

// socketModes hands the loop sockets that it would not have made like that: from another process,
// for example.
func socketModes(t *testing.T, d *driver, network string) {
	for _, flags := range []int{0, unix.SOCK_NONBLOCK} {
		fd, peer := rawPair(t, network, flags)
		s := d.attach(fd)
		d.startRecv(s)
		write(t, peer, []byte("hello"))
		if r := d.await(s, OpRecv); string(r.data) != "hello" {
			t.Fatalf("flags %#x: received %q, %v", flags, r.data, r.Err)
		}
		big := randomBytes(8 << 20)
		d.startSend(s, big)
		d.startRecv(s)
		readString(t, peer, string(big))
		d.await(s, OpSend).expect(t, len(big), 0)
		write(t, peer, []byte("hello"))
		d.await(s, OpRecv).expect(t, 5, 0)

		d.spliced(s, true)
		d.startFill(s)
		write(t, peer, []byte("hello"))
		r := d.await(s, OpFill)
		r.expect(t, 5, 0)
		d.forward(r, s)
		d.startFill(s)
		d.cancelRead(s, OpFill).expect(t, 0, unix.ECANCELED)
		d.spliced(s, false)
		if r.Pipe != nil {
			d.returnPipe(r.Pipe)
		}
		readString(t, peer, "hello")
		d.startRecv(s)
		finish(t, peer)
		d.await(s, OpRecv).expect(t, 0, 0)
	}
}

func socketMoves(t *testing.T, d *driver, network string) {
	other := run(t, d.engine)
	a, peerA := d.pair(network)
	write(t, peerA, []byte("hello"))
	d.recv(a).expect(t, 5, 0)
	if more := d.settle(a); len(more) > 0 {
		t.Fatalf("received %q, which was not sent", more)
	}
	var fd int
	d.do(func() { fd = d.loop.Detach(a) })
	d.forget(a)
	// Another socket takes its slot; what happens to the first is no longer this loop's business.
	b, peerB := d.pair(network)
	d.do(func() {
		d.loop.Attach(a, d.loop.Detach(b))
		d.loop.Recv(a)
	})
	d.slots, d.next = []Slot{a}, b
	moved := other.attach(fd)
	other.startRecv(moved)
	write(t, peerA, []byte("moved"))
	if r := other.await(moved, OpRecv); string(r.data) != "moved" {
		t.Fatalf("received %q, %v, in the other loop", r.data, r.Err)
	}
	write(t, peerB, []byte("stays"))
	if r := d.await(a, OpRecv); string(r.data) != "stays" {
		t.Fatalf("received %q, %v, in the slot used again", r.data, r.Err)
	}
	finish(t, peerA)
	other.recv(moved).expect(t, 0, 0)
	d.startRecv(a)
	d.cancelRead(a, OpRecv).expect(t, 0, unix.ECANCELED)
}

// settle makes the engine stop receiving ahead, as Detach wants it, and returns what came.
func (d *driver) settle(s Slot) []byte {
	d.t.Helper()
	var got []byte
	for {
		ahead := false
		d.do(func() { ahead = d.loop.Ahead(s) })
		if !ahead {
			return got
		}
		d.startRecv(s)
		switch r := d.cancelRead(s, OpRecv); {
		case r.Err != 0 && r.Err != unix.ECANCELED:
			d.t.Fatalf("recv: %v", r.Err)
		default:
			got = append(got, r.data...)
		}
	}
}

// socketLeaves takes a socket away while its peer sends, and while a send and a pipe are half
// written. All bytes are either returned, or still in the socket.
func socketLeaves(t *testing.T, d *driver, network string) {
	fd, peer := rawPair(t, network, d.loop.SocketFlags())
	s := d.attach(fd)
	in, out := randomBytes(3*BufferSize), randomBytes(8<<20)
	write(t, peer, in[:5])
	got := d.recv(s).data
	write(t, peer, in[5:]) // may be received ahead
	var rest []byte
	var taken int
	d.do(func() {
		d.loop.Send(s, out)
		unsent, before := d.loop.Unsent(s)
		rest, taken = slices.Clone(unsent), before
	})
	sent := d.cancelWrite(s, OpSend)
	if sent.Err != 0 && sent.Err != unix.ECANCELED || sent.N < taken || sent.N > len(out) {
		t.Fatalf("send: N %d, %v, with %d taken before", sent.N, sent.Err, taken)
	}
	rest = rest[sent.N-taken:]
	got = append(got, d.settle(s)...)
	d.forget(s)
	d.do(func() { d.loop.Detach(s) })
	f := os.NewFile(uintptr(fd), "socket")
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = f.Write(rest) })
	defer func() { // during a write, Close would return before the descriptor is closed
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		writing.Wait()
		f.Close()
	}()
	readString(t, peer, string(out))
	left := make([]byte, len(in)-len(got))
	if _, err := io.ReadFull(f, left); err != nil || !bytes.Equal(append(got, left...), in) {
		t.Fatalf("%d bytes received ahead, then %v; or they differ", len(got), err)
	}
}

// pipeEmptied moves bytes through a pipe into memory.
func pipeEmptied(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.spliced(s, true)
	want := randomBytes(100_000)
	go func() { _, _ = peer.Write(want) }() // what is missing is noticed below
	var got []byte
	for len(got) < len(want) {
		d.startFill(s)
		r := d.await(s, OpFill)
		got = append(got, r.data...)
		if r.Pipe == nil {
			continue
		}
		d.do(func() { got = append(got, d.loop.Empty(r.Pipe)...) })
		if r.Pipe.N != 0 {
			t.Errorf("%d bytes are left in the pipe", r.Pipe.N)
		}
		d.returnPipe(r.Pipe)
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes differ")
	}
	d.spliced(s, false)
}

// socketSlots closes sockets from within completions and puts new ones into their slots, while
// events of the old ones may be under way.
func socketSlots(t *testing.T, d *driver, network string) {
	const sockets, rounds = 16, 20
	peers := make([]int, sockets)
	pairOf := func() (ours, theirs int) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
		}
		return fds[0], fds[1]
	}
	left := sockets * rounds
	done := make(chan struct{})
	d.do(func() {
		for i := range peers {
			s := Slot(i)
			var ours int
			ours, peers[i] = pairOf()
			d.loop.Attach(s, ours)
			d.hooks[s] = func(c *Completion) {
				if c.Op != OpRecv || c.N != 1 || d.loop.Bytes(c.Buffer)[0] != byte(left) {
					t.Errorf("slot %d: %v, N %d, %v", s, c.Op, c.N, c.Err)
				}
				d.loop.Release(c.Buffer)
				left--
				if left == 0 {
					close(done)
					return
				}
				// The next slot's socket goes, whatever is under way for it, and this one's
				// answers.
				next := Slot((i + 1) % sockets)
				unix.Close(peers[next])
				if d.loop.Busy(next) {
					t.Errorf("slot %d is busy", next)
				}
				d.loop.Close(next)
				ours, peers[next] = pairOf()
				d.loop.Attach(next, ours)
				d.loop.Recv(next)
				unix.Write(peers[next], []byte{byte(left)})
			}
		}
		d.loop.Recv(0)
		unix.Write(peers[0], []byte{byte(left)})
	})
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%d completions have not come", left)
	}
	d.do(func() {
		for i, peer := range peers {
			unix.Close(peer)
			d.loop.Close(Slot(i))
		}
	})
}

// socketClose: the peer learns of it at once, also when the engine has been receiving.
func socketClose(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	write(t, peer, []byte("hello"))
	d.recv(s).expect(t, 5, 0)
	d.send(s, []byte("bye")).expect(t, 3, 0)
	d.close(s)
	readString(t, peer, "bye")
	if n, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the peer read %d bytes, %v, after Close", n, err)
	}
}

func socketReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	write(t, peer, []byte("hello"))
	d.recv(s).expect(t, 5, 0)
	d.forget(s)
	d.do(func() { d.loop.Reset(s) })
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("the peer read %v", err)
	}
}

// buffersHeld has more buffers with the handler than a ring provides at first, and looks at each
// before it goes back.
func buffersHeld(t *testing.T, d *driver) {
	const sockets = 2000
	d.do(func() { d.keep = true })
	peers := make([]int, sockets)
	first := d.next
	for i := range peers {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.attach(fds[0])
		peers[i] = fds[1]
	}
	t.Cleanup(func() {
		for _, peer := range peers {
			unix.Close(peer)
		}
	})
	message := func(i, round int) []byte {
		return bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(i*7+round)), 100)
	}
	for round := range 2 {
		d.do(func() {
			for i := range peers {
				d.loop.Recv(first + Slot(i))
			}
		})
		for i, peer := range peers {
			unix.Write(peer, message(i, round))
		}
		held := make([]result, sockets)
		seen := make(map[Buffer]bool)
		for i := range peers {
			held[i] = d.await(first+Slot(i), OpRecv)
			seen[held[i].Buffer] = true
		}
		if len(seen) != sockets || seen[0] {
			t.Fatalf("%d sockets hold %d buffers (none: %v)", sockets, len(seen), seen[0])
		}
		d.do(func() {
			for i, r := range held {
				if !bytes.Equal(d.loop.Bytes(r.Buffer)[:r.N], message(i, round)) {
					t.Errorf("round %d: buffer %d of socket %d has changed", round, r.Buffer, i)
				}
				d.loop.Release(r.Buffer)
			}
		})
	}
}
