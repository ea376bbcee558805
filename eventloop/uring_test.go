package eventloop

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// startIOUring starts a driver on the io_uring engine and gives access to its buffers.
func startIOUring(t *testing.T) (*driver, *uringBuffers) {
	t.Helper()
	needEngine(t, IOUring)
	d := start(t, IOUring)
	return d, &d.loop.engine.(*uring).buffers
}

// Without streams of receives, as on Linux before 6.17, all that receives is the same to the
// handler.
func TestIOUringSingleReceives(t *testing.T) {
	needEngine(t, IOUring)
	for _, b := range slices.Concat(receiveBehaviours, cancelBehaviours, socketBehaviours) {
		t.Run(b.name, func(t *testing.T) {
			d := start(t, IOUring)
			d.do(func() { d.loop.engine.(*uring).streams = false })
			b.test(t, d)
		})
	}
}

// receiveOnMany has n new sockets receive a byte each, their number, into buffers that are not
// released.
func (d *driver) receiveOnMany(n int) []Slot {
	d.t.Helper()
	slots := make([]Slot, n)
	peers := make([]int, n)
	for i := range slots {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		slots[i], peers[i] = d.attach(fds[0]), fds[1]
	}
	d.t.Cleanup(func() {
		for _, peer := range peers {
			unix.Close(peer)
		}
	})
	d.do(func() {
		d.keep = true
		for i, s := range slots {
			unix.Write(peers[i], []byte{byte(i)})
			d.loop.Recv(s)
		}
	})
	return slots
}

// Many receives find no buffer in one batch: what they lead to together must follow the need.
func TestIOUringBuffersGrowWithNeed(t *testing.T) {
	d, buffers := startIOUring(t)
	const sockets = 1000
	var held []Buffer
	var before uint32
	d.do(func() { before = d.loop.engine.(*uring).tail })
	for _, s := range d.receiveOnMany(sockets) {
		held = append(held, d.await(s, OpRecv).Buffer)
	}
	d.do(func() {
		// Each finds no buffer once, but for the first few, and none tries again before there is
		// one. The third submission for each is the loop's own: the test wakes it up as often.
		if tries := d.loop.engine.(*uring).tail - before; tries > 3*sockets+sockets/10 {
			t.Errorf("%d receives took %d submissions", sockets, tries)
		}
		if buffers.out != sockets || buffers.provided > 2*sockets {
			t.Errorf("for %d buffers in use, %d are in circulation; %d count as held", sockets, buffers.provided, buffers.out)
		}
		for _, b := range held {
			d.loop.Release(b)
		}
		if buffers.out != 0 {
			t.Errorf("%d buffers count as held after all were released", buffers.out)
		}
	})
}

// With all buffers in use, receives wait for one to come back, however many wait and whichever are
// cancelled.
func TestIOUringWaitsForBuffers(t *testing.T) {
	d, buffers := startIOUring(t)
	d.do(func() { buffers.most = buffersProvided })
	const sockets = buffersProvided + 8
	slots := d.receiveOnMany(sockets)
	for len(d.pending) < buffersProvided {
		d.take()
	}
	held := d.pending
	d.pending = nil
	var waiting []Slot
	for len(waiting) < sockets-buffersProvided { // until the loop has looked at all
		waiting = waiting[:0]
		d.do(func() {
			for _, s := range slots {
				if d.loop.table.at(s).flags&flagStarved != 0 {
					waiting = append(waiting, s)
				}
			}
		})
	}
	d.cancelRead(waiting[0], OpRecv).expect(t, 0, unix.ECANCELED)
	for i := range waiting[1:] {
		d.do(func() { d.loop.Release(held[i].Buffer) })
		if r := d.await(waiting[1+i], OpRecv); r.N != 1 || r.data[0] != byte(waiting[1+i]) {
			t.Fatalf("socket %d: received %v, %v", waiting[1+i], r.data, r.Err)
		}
	}
	d.do(func() { d.loop.Release(held[len(held)-1].Buffer) })
	if r := d.recv(waiting[0]); r.N != 1 || r.data[0] != byte(waiting[0]) {
		t.Fatalf("socket %d: received %v, %v, after a cancel", waiting[0], r.data, r.Err)
	}
}

// Operations that start while the kernel accepts no submissions wait until it does, however many
// they are.
func TestIOUringSubmissionsWait(t *testing.T) {
	d, _ := startIOUring(t)
	const sockets = submissions + 100
	slots, peers := make([]Slot, sockets), make([]int, sockets)
	for i := range slots {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		slots[i], peers[i] = d.attach(fds[0]), fds[1]
		t.Cleanup(func() { unix.Close(fds[1]) })
	}
	d.do(func() {
		u := d.loop.engine.(*uring)
		ring := u.fd
		u.fd = -1
		for _, s := range slots {
			d.loop.Recv(s)
		}
		if len(u.waiting) == 0 {
			t.Error("no submission waits")
		}
		u.fd = ring
	})
	for i, s := range slots {
		unix.Write(peers[i], []byte("x"))
		d.await(s, OpRecv).expect(t, 1, 0)
	}
	d.do(func() {
		if n := len(d.loop.engine.(*uring).waiting); n != 0 {
			t.Errorf("%d submissions still wait", n)
		}
	})
}

// A temporary refusal of the kernel is retried; a permanent error ends the loop.
func TestIOUringRefusals(t *testing.T) {
	for errno, want := range map[unix.Errno]unix.Errno{
		unix.ENOMEM: 0, unix.EAGAIN: 0, unix.EBUSY: 0, unix.EINTR: 0, unix.ETIME: 0,
		unix.EPERM: unix.EPERM, unix.ENOSYS: unix.ENOSYS,
	} {
		var head, tail uint32
		r := ring{cqHead: &head, cqTail: &tail}
		if got := r.entered(errno); got != want {
			t.Errorf("%v leads to %v, want %v", errno, got, want)
		}
	}
	d, _ := startIOUring(t)
	fd := d.loop.engine.(*uring).fd
	d.loop.Post(func() { d.loop.engine.(*uring).fd = -1 })
	defer unix.Close(fd)
	if err := d.end(); !errors.Is(err, unix.EBADF) {
		t.Errorf("Run returns %v, want EBADF", err)
	}
}

// Receives that found no buffer bring more into circulation even if a few have come back: sockets
// that receive again and again would take those before them, and some would never receive.
func TestIOUringStarvingReceivesAddBuffers(t *testing.T) {
	d, buffers := startIOUring(t)
	const sockets = 8
	var slots []Slot
	for range sockets {
		s, peer := d.pair("unix")
		write(t, peer, []byte("x"))
		slots = append(slots, s)
	}
	d.do(func() {
		u := d.loop.engine.(*uring)
		const others = buffersProvided - 1 // as if others had all but one
		buffers.inRing -= others
		for _, s := range slots {
			so := d.loop.table.at(s)
			so.in.op = OpRecv
			u.starve(s, so)
		}
		before := buffers.provided
		u.feed()
		if added := buffers.provided - before; added < sockets {
			t.Errorf("%d receives that starve bring %d buffers", sockets, added)
		}
		buffers.inRing += others
	})
	for _, s := range slots {
		d.await(s, OpRecv).expect(t, 1, 0)
	}
}
