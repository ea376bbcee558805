package eventloop

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// A stream of receives brings no more than a buffer's worth before it is asked again, however much
// is there: what it brings ahead is held for as long as a slow reader holds up its fast sender.
func TestIOUringStreamBound(t *testing.T) {
	for _, test := range []struct {
		name  string
		first int // bytes that a first receive takes, before the rest comes
	}{{"all at once", 0}, {"after a small receive", 5}} {
		for _, network := range streams {
			t.Run(test.name+"/"+network, func(t *testing.T) {
				d, buffers := startIOUring(t)
				s, peer := d.pair(network)
				var got []byte
				if test.first > 0 {
					d.startRecv(s)
					write(t, peer, make([]byte, test.first))
					got = d.await(s, OpRecv).data
				}
				sent := randomBytes(8 * BufferSize) // fits the sockets' own buffers
				so := d.loop.table.at(s)
				d.do(func() { // the kernel receives only when the loop waits, and then finds all of it
					if _, err := peer.Write(sent); err != nil {
						t.Error(err)
					}
					if test.first == 0 {
						d.loop.Recv(s)
					}
				})
				if test.first == 0 {
					got = d.await(s, OpRecv).data
				}
				ended := false
				for !ended {
					d.do(func() { ended = so.flags&flagStreaming == 0 })
				}
				ahead, known := 0, false
				d.do(func() {
					known = d.loop.engine.(*uring).streams
					for b := so.ahead; b != 0; b = buffers.link(b).next {
						ahead += int(buffers.link(b).length)
					}
				})
				if !known {
					t.Skip("needs Linux 6.17: the kernel knows no bound of a stream, and every receive is a single one")
				}
				if ahead > BufferSize {
					t.Errorf("%d bytes were received ahead, want at most %d", ahead, BufferSize)
				}
				got = append(got, d.recvExactly(s, test.first+len(sent)-len(got))...)
				if !bytes.Equal(got[test.first:], sent) {
					t.Error("other bytes than were sent")
				}
			})
		}
	}
}

// A receive that has missed the end of its socket finds it after Recheck. POLL_FIRST simulates
// bytes and a reset that come between a receive's attempt and its poll.
func TestIOUringRecheck(t *testing.T) {
	d, _ := startIOUring(t)
	s, peer := d.pair("tcp")
	write(t, peer, []byte("last words"))
	d.reset(s, peer)
	known := false
	d.do(func() {
		u := d.loop.engine.(*uring)
		if known = u.streams; !known {
			return
		}
		so := d.loop.table.at(s)
		so.in.op = OpRecv
		u.startStream(s, so)
		u.sqes[(u.tail-1)&u.sqMask].ioprio |= recvsendPollFirst
	})
	if !known {
		t.Skip("needs Linux 6.17: every receive is a single one")
	}
	if r := d.await(s, OpRecv); string(r.data) != "last words" || r.Err != 0 {
		t.Fatalf("received %q, %v", r.data, r.Err)
	}
	d.startRecv(s)
	for range 3 {
		d.do(func() {})
	}
	d.do(func() { d.loop.Recheck(s) })
	d.await(s, OpRecv).expect(t, 0, unix.ECONNRESET)
}
