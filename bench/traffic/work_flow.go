package traffic

import "time"

// flows is the work Flow: long connections, each with a message and its answer at an even rate.
// What happens to each connection is recorded, and failures do not end the run: they are what is
// measured. A flow that has failed is lost, and is not opened again.
//
// A flow opens when its first message is due. Newcomers open later, evenly spread over a time. A
// message that is due while the one before is unanswered is left out: the flow stalls, and
// the wait for the answer shows for how long.
type flows struct {
	l        *clientLoop
	schedule schedule
	rota     rota
	waiting  []deadline // in order; some may be of messages that were answered
	flows    []Flowed
	asked    []bool // by flow: a message is under way
	busy     int    // of those
	over     bool   // no message follows
}

func newFlows(l *clientLoop) work {
	return &flows{l: l, rota: rota{conns: l.conns}, flows: make([]Flowed, len(l.conns)), asked: make([]bool, len(l.conns))}
}

func (w *flows) keeps() bool { return false }
func (w *flows) start()      { w.schedule = newSchedule(&w.l.run.spec, w.l.begin) }

func (w *flows) due(now int64) int64 {
	w.giveUp(now)
	for !w.over {
		intended := w.schedule.at(w.rota.operation(w.rota.conn(), w.rota.round))
		if intended >= w.l.until {
			w.over = true
			break
		}
		if intended > now {
			return w.orDeadline(intended)
		}
		w.message(w.rota.conn(), intended, now)
		w.rota.advance()
	}
	return w.orDeadline(forever)
}

// orDeadline returns the earlier one of next and the first deadline.
func (w *flows) orDeadline(next int64) int64 {
	if len(w.waiting) > 0 {
		next = min(next, w.waiting[0].at)
	}
	return next
}

// message begins the message on c that is due, if c is ready for one.
func (w *flows) message(c *conn, intended, now int64) {
	f := &w.flows[c.id]
	switch {
	case f.Opened == 0 && intended >= w.opens(c):
		f.Opened = now
		w.begin(c, now)
		w.l.open(c, uint64(c.id))
	case c.state == free:
		w.l.late(intended, now)
		w.begin(c, now)
		c.beginMessage(now)
		w.event(c)
	}
}

// begin counts a message that is under way from now on.
func (w *flows) begin(c *conn, now int64) {
	c.round++
	c.intended = now
	w.asked[c.id] = true
	w.busy++
	w.waiting = append(w.waiting, deadline{now + int64(w.l.run.spec.Timeout), c, c.round})
}

// opens returns when c may open.
func (w *flows) opens(c *conn) int64 {
	spec := &w.l.run.spec
	newcomer := int64(c.id) - int64(spec.Connections-spec.Newcomers)
	if newcomer < 0 {
		return w.l.begin
	}
	return w.l.from + newcomer*int64(spec.NewcomersOver)/int64(spec.Newcomers)
}

// giveUp ends the flows that have waited too long.
func (w *flows) giveUp(now int64) {
	for len(w.waiting) > 0 {
		first := w.waiting[0]
		if c := first.conn; c.round == first.round && w.asked[c.id] && c.state != closed {
			if first.at > now {
				return
			}
			w.l.fail(c, faultNoAnswer)
		}
		w.waiting = w.waiting[1:]
	}
}

func (w *flows) ready(c *conn) {
	c.beginMessage(c.intended)
	w.event(c)
}

func (w *flows) event(c *conn) {
	complete, fault := w.l.exchange(c)
	switch {
	case fault != "":
		w.l.fail(c, fault)
	case complete:
		now := Now()
		c.state = free
		w.answer(c, now)
		w.l.answered(c.intended, now)
		if c.readable {
			w.event(c) // something follows the answer, which is a fault
		}
	}
}

// answer ends the message of c, and records how long it has waited.
func (w *flows) answer(c *conn, now int64) {
	w.asked[c.id] = false
	w.busy--
	f := &w.flows[c.id]
	f.Stall = max(f.Stall, time.Duration(now-c.intended))
}

func (w *flows) lost(c *conn) {
	f := &w.flows[c.id]
	f.Lost, f.Failure = Now(), c.fault
	if w.asked[c.id] {
		w.answer(c, f.Lost)
	}
}

func (w *flows) done(now int64) bool { return now >= w.l.until && w.busy == 0 }

func (w *flows) finish(now int64) {
	for i := range w.l.conns {
		if c := &w.l.conns[i]; w.asked[i] {
			w.l.unanswered(c.intended, now)
			w.answer(c, now)
		}
	}
	w.l.record.flows = w.flows
}
