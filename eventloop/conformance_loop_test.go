package eventloop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var socketBehaviours = slices.Concat(
	on("socket/whatever its mode", socketModes, streams...),
	on("socket/changes its slot and loop", socketMoves, streams...),
	on("socket/slots are used again", socketSlots, streams...),
	on("socket/Reset", socketReset, "tcp"),
	[]behaviour{{"socket/2000 hold a buffer each", buffersHeld}},
)

var loopBehaviours = []behaviour{
	{"loop/timers", loopTimers},
	{"loop/messages from many goroutines", loopMessages},
	{"loop/message while it waits long", loopWakes},
	{"loop/Post after the end", loopEnds},
	{"loop/panic", loopPanics},
	{"loop/Detach with an operation in flight", loopDetachBusy},
	{"loop/pipes are bounded", loopPipes},
}

// socketModes hands the loop sockets that it would not have made like that: from another process, for example.
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
		p := d.borrowPipe()
		d.startFill(s, p)
		write(t, peer, []byte("hello"))
		d.await(s, OpFill).expect(t, 5, 0)
		d.startDrain(s, p)
		d.await(s, OpDrain).expect(t, 5, 0)
		d.startFill(s, p)
		d.cancelRead(s, OpFill).expect(t, 0, unix.ECANCELED)
		d.spliced(s, false)
		d.returnPipe(p)
		readString(t, peer, "hello")
		d.startRecv(s)
		finish(t, peer)
		d.await(s, OpRecv).expect(t, 0, 0)
	}
}

func socketMoves(t *testing.T, d *driver, network string) {
	other := run(t, d.loop.Engine())
	a, peerA := d.pair(network)
	write(t, peerA, []byte("hello"))
	d.recv(a).expect(t, 5, 0)
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

// socketSlots closes sockets from within completions and puts new ones into their slots, while events of the old
// ones may be under way.
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
				// The next slot's socket goes, whatever is under way for it, and this one's answers.
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

func socketReset(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	d.forget(s)
	d.do(func() { d.loop.Reset(s) })
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("the peer read %v", err)
	}
}

// buffersHeld has more buffers with the handler than a ring provides at first, and looks at each before it goes back.
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
		defer func() { if t.Failed() { debugDump(t, d, first, sockets, held) } }()
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

func loopTimers(t *testing.T, d *driver) {
	var started int64
	d.do(func() {
		started = d.loop.Now()
		at := func(ms int64) int64 { return started + ms*int64(time.Millisecond) }
		d.loop.SetTimer(3, at(90))
		d.loop.SetTimer(1, at(30))
		d.loop.SetTimer(2, at(60))
		d.loop.SetTimer(4, at(1))
		d.loop.StopTimer(4)
		d.loop.SetTimer(5, at(1))
		d.loop.SetTimer(5, at(120))
		d.loop.SetTimer(6, at(int64(time.Hour/time.Millisecond)))
	})
	for _, want := range []uint32{1, 2, 3, 5} {
		select {
		case id := <-d.expired:
			if id != want {
				t.Fatalf("timer %d expired, want %d", id, want)
			}
		case <-time.After(patience):
			t.Fatalf("timer %d does not expire", want)
		}
	}
	if early := started + 120*int64(time.Millisecond) - Clock(); early > 0 {
		t.Fatalf("the last timer expired %v early", time.Duration(early))
	}
}

func loopMessages(t *testing.T, d *driver) {
	const senders, each = 8, 2000
	type message struct{ sender, number int }
	var wg sync.WaitGroup
	for sender := range senders {
		wg.Go(func() {
			for number := range each {
				if !d.loop.Post(message{sender, number}) {
					t.Error("Post says that the loop has ended")
				}
			}
		})
	}
	wg.Wait()
	var next [senders]int
	d.do(func() {
		for _, m := range d.messages {
			m := m.(message)
			if m.number != next[m.sender] {
				t.Errorf("sender %d: message %d after %d", m.sender, m.number, next[m.sender]-1)
			}
			next[m.sender] = m.number + 1
		}
	})
	for sender, n := range next {
		if n != each {
			t.Errorf("sender %d: %d of %d messages", sender, n, each)
		}
	}
}

// loopWakes posts to a loop in each of its kinds of wait: a timer that expires after spinDown tells that it is in the
// one without a limit.
func loopWakes(t *testing.T, d *driver) {
	for range 5 {
		d.do(func() { d.loop.SetTimer(0, d.loop.Now()+int64(4*spinDown)) })
		<-d.expired
		for range 3 {
			d.do(func() {})
		}
	}
}

func loopEnds(t *testing.T, d *driver) {
	d.loop.Post(func() { d.loop.Quit() })
	if err := d.end(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if d.loop.Post("late") {
		t.Error("Post says that a loop takes messages that has ended")
	}
}

func loopPanics(t *testing.T, d *driver) {
	d.loop.Post(func() { panic("a handler's mistake") })
	var panicked *PanicError
	if err := d.end(); !errors.As(err, &panicked) || panicked.Value != "a handler's mistake" {
		t.Fatalf("Run: %v", err)
	}
	if !bytes.Contains(panicked.Stack, []byte("loopPanics")) {
		t.Errorf("the stack does not show where it was:\n%s", panicked.Stack)
	}
}

func loopDetachBusy(t *testing.T, d *driver) {
	s, _ := d.pair("tcp")
	d.startRecv(s)
	var value any
	d.do(func() {
		defer func() { value = recover() }()
		d.loop.Detach(s)
	})
	if value == nil {
		t.Error("a socket was detached with a recv in flight")
	}
}

func loopPipes(t *testing.T, d *driver) {
	var pipes []*Pipe
	d.do(func() {
		for p := d.loop.BorrowPipe(); p != nil; p = d.loop.BorrowPipe() {
			pipes = append(pipes, p)
		}
	})
	if len(pipes) != PipesPerLoop {
		t.Errorf("%d pipes were to be had, want %d", len(pipes), PipesPerLoop)
	}
	d.do(func() {
		for _, p := range pipes {
			d.loop.ReturnPipe(p)
		}
		if p := d.loop.BorrowPipe(); p == nil {
			t.Error("no pipe is to be had after all came back")
		} else {
			d.loop.ReturnPipe(p)
		}
	})
}
