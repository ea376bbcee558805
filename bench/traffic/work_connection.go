package traffic

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// connections is the work Connection: a connection for each request, which the origin closes.
//
// With a rate, the schedule decides when to connect. An operation takes any free slot, or waits for
// one: Connections bounds how many are open at the same time.
type connections struct {
	l         *clientLoop
	left      uint64 // closed loop: operations that may still begin
	free      []*conn
	freeSince int64 // since when there has been a free slot
	turn      uint64
	schedule  schedule
	next      uint64 // the next operation
}

func newConnections(l *clientLoop) work {
	w := &connections{l: l, left: l.run.spec.limit()}
	for i := range l.conns {
		w.free = append(w.free, &l.conns[i])
	}
	return w
}

func (w *connections) keeps() bool { return false }
func (w *connections) open() bool  { return w.l.run.spec.Rate > 0 }

func (w *connections) start() {
	if w.open() {
		w.schedule = newSchedule(&w.l.run.spec, w.l.begin)
	}
}

// pending returns when the next operation is due, if there is one.
func (w *connections) pending(now int64) (intended int64, ok bool) {
	if !w.open() {
		return now, w.left > 0 && now < w.l.until
	}
	intended = w.schedule.at(w.next)
	limit := w.l.run.spec.Limit
	return intended, intended < w.l.until && (limit == 0 || w.next < limit)
}

func (w *connections) due(now int64) int64 {
	for len(w.free) > 0 {
		intended, ok := w.pending(now)
		if !ok {
			break
		}
		if intended > now {
			return intended
		}
		w.begin(intended)
	}
	return forever // a slot becomes free in an event
}

// begin takes a slot and connects.
func (w *connections) begin(intended int64) {
	c := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	now := Now()
	if !w.open() {
		intended = now
		w.left--
	} else if intended > w.freeSince {
		w.l.late(intended, now)
	}
	w.next++
	w.turn++
	c.intended = intended
	w.l.open(c, w.turn-1)
}

func (w *connections) ready(c *conn) {
	c.beginMessage(c.intended)
	w.event(c)
}

func (w *connections) event(c *conn) {
	if c.state == busy {
		complete, fault := w.l.exchange(c)
		if fault != "" {
			w.l.fail(c, fault)
			return
		}
		if !complete {
			return
		}
		c.state = ending
	}
	w.awaitEnd(c)
}

// awaitEnd looks for the origin's FIN after the response.
func (w *connections) awaitEnd(c *conn) {
	if !c.readable {
		return
	}
	n, errno := rawsys.Recv(int(c.fd), w.l.in, 0)
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
	case errno != 0:
		w.l.fail(c, sentence("receive", errno))
	case n > 0:
		w.l.fail(c, faultExcess)
	default:
		w.l.drop(c)
		w.l.answered(c.intended, Now())
		w.release(c)
	}
}

func (w *connections) lost(c *conn) { w.release(c) }

func (w *connections) release(c *conn) {
	if len(w.free) == 0 {
		w.freeSince = Now()
	}
	w.free = append(w.free, c)
}

func (w *connections) done(now int64) bool {
	_, more := w.pending(now)
	over := now >= w.l.until || w.l.run.spec.Limit > 0 && !more
	return over && len(w.free) == len(w.l.conns)
}

func (w *connections) finish(now int64) {
	if !w.l.begun {
		return
	}
	for i := range w.l.conns {
		if c := &w.l.conns[i]; c.state != closed {
			w.l.unanswered(c.intended, now)
		}
	}
	for w.open() {
		intended, ok := w.pending(now)
		if !ok || intended > now {
			return
		}
		w.l.unanswered(intended, now)
		w.next++
	}
}
