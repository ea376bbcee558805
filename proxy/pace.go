package proxy

import (
	"golang.org/x/sys/unix"

	"l4proxy/bandwidth"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

// A pace belongs to a connection that is subject to limits of bandwidth. Most are not.
//
// A limited flow reads in three steps: it waits until bytes have come (OpReady), takes its turn at
// each limit for as many, and reads what it was granted, at once. Until then it holds no buffer and
// no grant. So what waits for a limit waits in the sender's socket, and an idle connection costs
// the others nothing.
type pace struct {
	member bandwidth.Membership
	flow   [2]pacedFlow
}

// pacedFlow is the state of one flow.
type pacedFlow struct {
	worker  *worker
	conn    *conn // nil once the connection does not relay here any more
	end     int
	turns   *[bandwidth.Kinds]bandwidth.Turn
	kind    bandwidth.Kind // of the limit at which it waits, if waiting
	waiting bool
	granted int  // by all limits before kind, or by all while it reads
	more    bool // the last read took all that was granted, so there may be more
}

// startPace subjects a connection to the limits of its listener, if there are any.
func (w *worker) startPace(c *conn) {
	limits := c.counts.limits.Load()
	if limits == nil || c.pace != nil || !limits.Any() {
		return
	}
	turns := new([bandwidth.Directions][bandwidth.Kinds]bandwidth.Turn)
	c.pace = &pace{member: limits.Join(c.client.Addr(), turns, w.loop.Now())}
	for end := range c.pace.flow {
		f := &c.pace.flow[end]
		*f = pacedFlow{worker: w, conn: c, end: end, turns: &turns[end]} // bandwidth.In is clientEnd
		for kind := range turns[end] {
			turns[end][kind].Owner = f
		}
	}
}

// paceOpen subjects the open connections to limits that a new State has added.
func (w *worker) paceOpen(s *State) {
	limited := false
	for _, l := range s.Listeners {
		limited = limited || l.Bandwidth.Any()
	}
	if !limited {
		return
	}
	w.connections(func(c *conn) {
		if c.state == stateRelaying {
			w.startPace(c) // the reads in flight are charged when they end
		}
	})
}

// endPace ends the waits of a connection, and gives back what it does not use.
func (w *worker) endPace(c *conn) {
	p := c.pace
	if p == nil {
		return
	}
	if c.paced() {
		c.lastActive = w.loop.Now()
	}
	c.pace = nil
	for i := range p.flow {
		f := &p.flow[i]
		f.conn = nil
		if f.waiting {
			f.turns[f.kind].Withdraw() // else its grant is on the way; see paceGranted
		} else {
			f.kind = bandwidth.Kinds
		}
		f.refund(f.granted)
	}
	p.member.Leave(w.loop.Now())
}

// paced reports whether a flow of the connection waits for a limit.
func (c *conn) paced() bool {
	return c.pace != nil && (c.pace.flow[clientEnd].waiting || c.pace.flow[backendEnd].waiting)
}

func (f *pacedFlow) limited() bool {
	for kind := range f.turns {
		if f.turns[kind].Limited() {
			return true
		}
	}
	return false
}

// readPaced starts the next read of a limited flow. It returns false if no limit applies to it now.
func (w *worker) readPaced(c *conn, end int) bool {
	f := &c.pace.flow[end]
	switch {
	case f.waiting: // it reads when its turn has come
	case !f.limited():
		return false
	case f.more && rawsys.Unread(w.loop.FD(c.slot(end))) > 0:
		w.paceReady(c, end)
	default:
		w.loop.Ready(c.slot(end))
	}
	return true
}

// readyDone continues a flow that has waited for bytes.
func (w *worker) readyDone(c *conn, end int, done *eventloop.Completion) {
	switch {
	case c.flow[end].ended != flowOpen: // see broken
	case done.Err != 0 || c.pace == nil:
		w.read(c, end)
	default:
		w.paceReady(c, end)
	}
}

// paceReady takes the turns of a flow for the bytes that have come. The end of the stream waits for
// no limit.
func (w *worker) paceReady(c *conn, end int) {
	f := &c.pace.flow[end]
	unread := rawsys.Unread(w.loop.FD(c.slot(end)))
	f.more = false
	if unread <= 0 {
		f.granted = 0
		w.readNow(c, end, eventloop.BufferSize)
		return
	}
	if end == backendEnd && c.flags&(flagAnswered|flagAsking) != flagAnswered {
		c.answer(w.loop.Now()) // its answer must not seem late because it is held back
	}
	f.granted, f.kind = min(unread, eventloop.MostAtOnce(c.flow[end].spliced)), 0
	w.advance(f)
}

// advance takes a flow's turns at its limits from f.kind on, and reads when it has had all.
func (w *worker) advance(f *pacedFlow) {
	now := w.loop.Now()
	for ; f.kind < bandwidth.Kinds; f.kind++ {
		t := &f.turns[f.kind]
		if !t.Limited() {
			continue
		}
		n, wake := t.Take(f.granted, now)
		if n == 0 {
			f.waiting = true
			if wake != 0 {
				w.paceAlarm(t.Bucket(), wake)
			}
			return
		}
		f.shrink(n)
	}
	w.readNow(f.conn, f.end, f.granted)
}

// shrink reduces the grant to what the limit at f.kind allows.
func (f *pacedFlow) shrink(n int) {
	if n < f.granted {
		f.refund(f.granted - n)
		f.granted = n
	}
}

// refund gives n bytes back to the limits before f.kind. It charges them if n is negative.
func (f *pacedFlow) refund(n int) {
	for kind := range f.kind {
		f.turns[kind].Refund(n)
	}
}

// charge takes n bytes that have passed without a turn off what the limits allow next.
func (f *pacedFlow) charge(n int) {
	f.kind = bandwidth.Kinds
	f.refund(-n)
}

// paceGranted continues a flow whose wait for a limit is over.
func (w *worker) paceGranted(t *bandwidth.Turn) {
	f := t.Owner.(*pacedFlow)
	n, waited := t.Granted()
	c := f.conn
	if c == nil { // the connection has ended, or left, since then
		t.Refund(n)
		return
	}
	f.waiting = false
	wait := &c.counts.waits[f.end][f.kind]
	wait.n.add(1)
	wait.ns.add(uint64(max(waited, 0)))
	f.shrink(n)
	f.kind++
	if c.flow[f.end].ended != flowOpen { // see broken
		f.refund(f.granted)
		f.granted = 0
		return
	}
	w.advance(f)
}

// readNow reads what a flow was granted.
func (w *worker) readNow(c *conn, end, most int) {
	c.pace.flow[end].kind = bandwidth.Kinds
	if c.flow[end].spliced {
		w.loop.FillNow(c.slot(end), most)
	} else {
		w.loop.RecvNow(c.slot(end), most)
	}
}

// paceRead settles the bill of a read that has ended. It returns true if the read has found
// nothing, and has been started again.
func (w *worker) paceRead(c *conn, end int, done *eventloop.Completion) (again bool) {
	f := &c.pace.flow[end]
	if f.waiting { // an ordinary read
		return false
	}
	f.kind = bandwidth.Kinds
	f.more = f.granted > 0 && done.N >= f.granted
	f.refund(f.granted - done.N)
	f.granted = 0
	if done.Err != unix.ECANCELED || c.flow[end].ended != flowOpen {
		return false
	}
	w.read(c, end)
	return true
}
