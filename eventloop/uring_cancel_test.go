package eventloop

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A cancel request that finds nothing is made again as long as the operation is in flight. The
// first request of each is pointed at another operation, so that the kernel does not find its own.
func TestIOUringLostCancel(t *testing.T) {
	d, _ := startIOUring(t)
	lose := func(s Slot, op Op, cancel func(Slot)) {
		t.Helper()
		d.do(func() {}) // the kernel has the operation
		d.do(func() {
			u := d.loop.engine.(*uring)
			before := u.tail
			cancel(s)
			if u.tail != before+1 {
				t.Errorf("%v: %d submissions for a cancel", op, u.tail-before)
				return
			}
			u.sqes[before&u.sqMask].addr = userData(forIgnored, s)
		})
		d.await(s, op).expect(t, 0, unix.ECANCELED)
	}
	for _, network := range streams {
		s, peer := d.pair(network)
		d.startRecv(s)
		lose(s, OpRecv, d.loop.CancelRead)

		d.spliced(s, true)
		d.do(func() { d.loop.Fill(s) })
		lose(s, OpFill, d.loop.CancelRead)
		d.spliced(s, false)

		d.do(func() { d.loop.Watch(s, true) })
		lose(s, OpWatch, d.loop.CancelRead)

		sent := make([]byte, 64<<20) // more than the sockets hold
		d.startSend(s, sent)
		d.do(func() {
			u := d.loop.engine.(*uring)
			before := u.tail
			d.loop.CancelWrite(s)
			u.sqes[before&u.sqMask].addr = userData(forIgnored, s)
		})
		if r := d.await(s, OpSend); r.Err != unix.ECANCELED || r.N >= len(sent) {
			t.Errorf("send over %s: %d bytes, %v", network, r.N, r.Err)
		}
		peer.Close()
		d.close(s)
	}

	listener, addr := listen(t, "tcp", 0)
	accepting := d.attach(listener)
	d.accept(accepting)
	lose(accepting, OpAccept, d.loop.CancelRead)

	dial(t, addr) // the queue is full: further SYNs are dropped
	awaitPoll(t, listener, unix.POLLIN)
	to := sockaddr(t, addr)
	connecting := d.socketTo(to)
	d.do(func() { d.loop.Connect(connecting, to) })
	lose(connecting, OpConnect, d.loop.CancelWrite)
	d.close(connecting)
	d.close(accepting)
}
