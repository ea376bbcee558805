package eventloop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

func TestEpollBuffers(t *testing.T) {
	d := start(t, Epoll)
	b := &d.loop.engine.(*epoll).buffers
	s, peer := d.pair("tcp")
	d.startRecv(s)
	for range 20 {
		write(t, peer, []byte("hello"))
		d.await(s, OpRecv)
		d.startRecv(s)
	}
	d.do(func() {
		if len(b.memory) != 1 || len(b.free) != 1 {
			t.Errorf("20 receives, one after another, used %d buffers and hold %d", len(b.memory), 1-len(b.free))
		}
	})
}

func TestEpollBuffersTrim(t *testing.T) {
	var b epollBuffers
	var held []Buffer
	for range 50 {
		held = append(held, b.take())
	}
	b.bytes(held[0])[0] = 42
	for _, id := range held[1:] {
		b.giveBack(id)
	}
	b.trim()
	withMemory := 0
	for _, m := range b.memory {
		if m != nil {
			withMemory++
		}
	}
	if withMemory != buffersKept+1 || b.bytes(held[0])[0] != 42 {
		t.Errorf("%d buffers have memory, want %d kept and the one in use", withMemory, buffersKept)
	}
	seen := map[Buffer]bool{held[0]: true}
	for range 49 {
		id := b.take()
		if seen[id] {
			t.Fatalf("buffer %d was given out twice", id)
		}
		seen[id] = true
		b.bytes(id)[BufferSize-1] = 1
	}
	if len(b.memory) != 50 {
		t.Errorf("%d buffers for 50 in use", len(b.memory))
	}
}

// Without epoll_pwait2(2), timers still fire, and none of them early.
func TestEpollOldKernel(t *testing.T) {
	d := start(t, Epoll)
	d.do(func() { d.loop.engine.(*epoll).precise = false })
	for range 3 {
		var at int64
		d.do(func() {
			at = d.loop.Now() + int64(2*spinDown)
			d.loop.SetTimer(1, at)
		})
		<-d.expired
		if early := at - rawsys.Monotonic(); early > 0 {
			t.Fatalf("a timer expired %v early", time.Duration(early))
		}
	}
	s, peer := d.pair("tcp")
	d.startRecv(s)
	write(t, peer, []byte("hello"))
	d.await(s, OpRecv).expect(t, 5, 0)
}

// A denied client is answered and closed: that has to work without epoll_ctl(2).
func TestEpollRegistersWhenItWaits(t *testing.T) {
	d := start(t, Epoll)
	s, peer := d.pair("tcp")
	d.send(s, []byte("denied")).expect(t, 6, 0)
	d.do(func() {
		if d.loop.table.at(s).flags&flagWatched != 0 {
			t.Error("a socket that never waited is registered")
		}
	})
	readString(t, peer, "denied")
}

// An event that was fetched before its socket was closed must not reach the socket that took the
// slot.
func TestEpollForgetsEventsOfClosed(t *testing.T) {
	d := start(t, Epoll)
	first, peer := d.pair("unix")
	second, gone := d.pair("unix")
	for _, s := range []Slot{first, second} { // registers both
		d.startRecv(s)
		d.cancelRead(s, OpRecv).expect(t, 0, unix.ECANCELED)
	}
	d.do(func() {})
	fresh, _ := rawPair(t, "unix", unix.SOCK_NONBLOCK)
	closed := make(chan struct{})
	d.do(func() {
		d.hooks[first] = func(c *Completion) {
			delete(d.hooks, first)
			d.loop.Release(c.Buffer)
			d.loop.Close(second)
			d.loop.Attach(second, fresh)
			close(closed)
		}
		d.loop.Recv(first)
		// Both events come with the next wait, in this order.
		peer.Write([]byte("x"))
		gone.Close()
	})
	<-closed
	d.do(func() {
		if flags := d.loop.table.at(second).flags; flags&(flagReadable|flagHangup|flagWatched) != 0 {
			t.Errorf("the new socket has flags %#x of the old one's event", flags)
		}
	})
}

// A descriptor that leaves the loop open must not continue to make events for its slot.
func TestEpollDetachEndsRegistration(t *testing.T) {
	d := start(t, Epoll)
	s, _ := d.pair("tcp")
	d.startRecv(s)
	d.cancelRead(s, OpRecv).expect(t, 0, unix.ECANCELED)
	d.forget(s)
	d.do(func() {
		fd := d.loop.Detach(s)
		if errno := rawsys.EpollDelete(d.loop.engine.(*epoll).fd, fd); errno != unix.ENOENT {
			t.Errorf("ending the registration of a detached socket once more: %v", errno)
		}
		unix.Close(fd)
	})
}
