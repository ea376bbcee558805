package traffic

import "time"

// visits is the work Visit: new clients come at an even rate. Each opens a connection, sends a
// request, reads the answer and leaves. The result of each is recorded, and failures do not end the
// run: they are what is measured.
//
// A visit's times count from its connect. No visitor waits for another one, so if one comes late
// the client was too slow, which is counted in [ClientResult].Late.
type visits struct {
	l        *clientLoop
	free     []*conn
	turn     uint64
	schedule schedule
	next     uint64     // the next visit
	waiting  []deadline // in order; some may be of visits that are over
}

// deadline is when a visit fails because it took too long.
type deadline struct {
	at    int64
	conn  *conn
	round uint64 // of conn, at that visit
}

func newVisits(l *clientLoop) work {
	w := &visits{l: l}
	for i := range l.conns {
		w.free = append(w.free, &l.conns[i])
	}
	return w
}

func (w *visits) keeps() bool { return false }
func (w *visits) start()      { w.schedule = newSchedule(&w.l.run.spec, w.l.begin) }

func (w *visits) due(now int64) int64 {
	w.giveUp(now)
	next := int64(forever)
	if len(w.waiting) > 0 {
		next = w.waiting[0].at
	}
	for len(w.free) > 0 {
		intended := w.schedule.at(w.next)
		if intended >= w.l.until {
			break
		}
		if intended > now {
			return min(next, intended)
		}
		w.begin(intended)
		next = min(next, w.waiting[0].at)
	}
	return next
}

// giveUp ends the visits that have taken too long.
func (w *visits) giveUp(now int64) {
	for len(w.waiting) > 0 {
		first := w.waiting[0]
		if c := first.conn; c.round == first.round && c.state != closed {
			if first.at > now {
				return
			}
			fault := faultNoAnswer
			if c.state == connecting {
				fault = faultNoConnect
			}
			w.l.fail(c, fault)
		}
		w.waiting = w.waiting[1:]
	}
}

// begin takes a slot and connects.
func (w *visits) begin(intended int64) {
	c := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	w.next++
	w.turn++
	c.round++
	c.dialled = Now() // open may fail before it sets this
	w.l.late(intended, c.dialled)
	w.l.open(c, w.turn-1)
	w.waiting = append(w.waiting, deadline{c.dialled + int64(w.l.run.spec.Timeout), c, c.round})
}

func (w *visits) ready(c *conn) {
	c.connected = Now()
	c.beginMessage(c.dialled)
	w.event(c)
}

func (w *visits) event(c *conn) {
	complete, fault := w.l.exchange(c)
	switch {
	case fault != "":
		w.l.fail(c, fault)
	case complete:
		now := Now()
		w.l.drop(c)
		w.l.answered(c.dialled, now)
		w.over(c, now, "")
	}
}

func (w *visits) lost(c *conn) { w.over(c, Now(), c.fault) }

// over records the visit on c, which ended at now, and frees its slot.
func (w *visits) over(c *conn, now int64, failure string) {
	w.free = append(w.free, c)
	if c.dialled < w.l.from {
		return
	}
	v := Visited{Began: c.dialled, Took: time.Duration(now - c.dialled), Backend: int(c.backend), Failure: failure}
	if c.connected > 0 {
		v.Connect = time.Duration(c.connected - c.dialled)
	}
	w.l.record.visits = append(w.l.record.visits, v)
}

func (w *visits) done(now int64) bool { return now >= w.l.until && len(w.free) == len(w.l.conns) }

// finish finds visits under way only if the run was stopped early.
func (w *visits) finish(now int64) {
	for i := range w.l.conns {
		if c := &w.l.conns[i]; c.state != closed {
			w.l.unanswered(c.dialled, now)
		}
	}
}
