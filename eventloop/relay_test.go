package eventloop

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// testRelay moves bytes between two sockets of a loop in both directions, as a proxy does. All but
// start and await runs on the loop's thread.
type testRelay struct {
	d    *driver
	ways [2]*way
	done chan error
	left int // ways that have not ended
}

// way is one direction of a testRelay.
type way struct {
	relay    *testRelay
	from, to Slot
	splice   func(moved int) bool // how the next bytes are to be moved
	spliced  bool
	pipe     *Pipe // with bytes on their way, or nil
	moved    int
}

// start relays between a and b until both directions have ended. aToB and bToA choose splice(2) or
// buffers again for each piece, by the number of bytes moved so far.
func (d *driver) relay(a, b Slot, aToB, bToA func(moved int) bool) *testRelay {
	r := &testRelay{d: d, done: make(chan error, 2), left: 2}
	r.ways[0] = &way{relay: r, from: a, to: b, splice: aToB}
	r.ways[1] = &way{relay: r, from: b, to: a, splice: bToA}
	d.do(func() {
		for i, s := range []Slot{a, b} {
			d.hooks[s] = func(c *Completion) {
				switch c.Op {
				case OpRecv, OpFill:
					r.ways[i].read(c)
				default:
					r.ways[1-i].written(c)
				}
			}
		}
		r.ways[0].next()
		r.ways[1].next()
	})
	return r
}

// next starts to move the next piece.
func (w *way) next() {
	loop := w.relay.d.loop
	if splice := w.splice(w.moved); splice != w.spliced {
		w.spliced = splice
		loop.Spliced(w.from, splice)
		loop.Spliced(w.to, splice)
	}
	if w.spliced {
		loop.Fill(w.from)
	} else {
		loop.Recv(w.from)
	}
}

func (w *way) read(c *Completion) {
	loop := w.relay.d.loop
	switch {
	case c.Err != 0:
		w.end(fmt.Errorf("%v after %d bytes: %w", c.Op, w.moved, c.Err))
	case c.N == 0:
		loop.Shutdown(w.to)
		w.end(nil)
	case c.Pipe != nil:
		w.pipe = c.Pipe
		loop.Drain(w.to, w.pipe)
	default:
		loop.Forward(w.to, c.Buffer, c.N, c.Last)
	}
}

func (w *way) written(c *Completion) {
	loop := w.relay.d.loop
	if w.pipe != nil {
		loop.ReturnPipe(w.pipe)
		w.pipe = nil
	}
	w.moved += c.N
	if c.Err != 0 {
		w.end(fmt.Errorf("%v after %d bytes: %w", c.Op, w.moved, c.Err))
		return
	}
	w.next()
}

func (w *way) end(err error) {
	loop := w.relay.d.loop
	if w.spliced {
		loop.Spliced(w.from, false)
		loop.Spliced(w.to, false)
	}
	w.relay.done <- err
}

func (r *testRelay) await(t *testing.T) {
	t.Helper()
	for range 2 {
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}
}

func always(int) bool { return true }
func never(int) bool  { return false }

// alternating changes between splice(2) and buffers after each stretch of n bytes or more.
func alternating(n int) func(int) bool { return func(moved int) bool { return moved/n%2 == 0 } }

// exchange sends size bytes through a relay from each of two peers to the other, with a FIN behind
// them, and compares what arrives.
func (d *driver) exchange(network string, size int, aToB, bToA func(int) bool) {
	t := d.t
	t.Helper()
	a, peerA := d.pair(network)
	b, peerB := d.pair(network)
	relay := d.relay(a, b, aToB, bToA)
	type end struct {
		got *sum
		err error
	}
	ends := make(chan end, 2)
	sent := newSum()
	block := randomBytes(1<<20 + 7) // a size that no chunk divides: what is moved wrongly shows
	for _, peer := range []net.Conn{peerA, peerB} {
		go func() {
			for left := size; left > 0; {
				n, err := peer.Write(block[:min(left, len(block))])
				if err != nil {
					t.Errorf("write with %d bytes left: %v", left, err)
					break
				}
				left -= n
			}
			finish(t, peer)
		}()
		go func() {
			got := newSum()
			_, err := io.CopyBuffer(got, struct{ io.Reader }{peer}, make([]byte, 256<<10))
			ends <- end{got, err}
		}()
	}
	for left := size; left > 0; left -= min(left, len(block)) {
		sent.Write(block[:min(left, len(block))])
	}
	for range 2 {
		if e := <-ends; e.err != nil || *e.got != *sent {
			t.Errorf("a peer read %+v, %v; want %+v", e.got, e.err, sent)
		}
	}
	relay.await(t)
	for _, w := range relay.ways {
		if w.moved != size {
			t.Errorf("completions counted %d bytes, %d were sent", w.moved, size)
		}
	}
}
