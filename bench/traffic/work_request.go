package traffic

// requests is the work Request: persistent connections, each with one request after the other.
//
// With a rate, operation k belongs to connection k mod n, even if another one is free: connections
// stand for clients that do not know of each other. If the connection is busy, the operation waits.
type requests struct {
	l           *clientLoop
	left        uint64 // closed loop: operations that may still begin
	outstanding int    // operations that were due and have not ended
	schedule    schedule
	rota        rota
	exhausted   bool // the rota is at the end of the schedule
}

func newRequests(l *clientLoop) work {
	return &requests{l: l, left: l.run.spec.limit(), rota: rota{conns: l.conns}}
}

func (w *requests) keeps() bool { return true }
func (w *requests) open() bool  { return w.l.run.spec.Rate > 0 }

func (w *requests) start() {
	if w.open() {
		w.schedule = newSchedule(&w.l.run.spec, w.l.begin)
		return
	}
	for i := range w.l.conns {
		if c := &w.l.conns[i]; c.state == free {
			w.next(c)
		}
	}
}

func (w *requests) ready(c *conn) {
	c.freeSince = Now()
	w.l.opened(c)
	if w.l.begun {
		w.next(c)
	}
}

// next begins c's next operation, if one is due. c is free.
func (w *requests) next(c *conn) {
	if w.take(c, Now()) {
		w.event(c)
	}
}

// take prepares c to send its next request, if one is due.
func (w *requests) take(c *conn, now int64) bool {
	if !w.open() {
		if w.left == 0 || now >= w.l.until {
			return false
		}
		w.left--
		w.outstanding++
		c.beginMessage(now)
		return true
	}
	k := w.rota.operation(c, c.round)
	intended := w.schedule.at(k)
	if intended > now || !w.scheduled(k, intended) {
		return false
	}
	if intended > c.freeSince {
		w.l.late(intended, now)
	}
	c.round++
	c.beginMessage(intended)
	return true
}

// scheduled reports whether operation k exists.
func (w *requests) scheduled(k uint64, intended int64) bool {
	limit := w.l.run.spec.Limit
	return intended < w.l.until && (limit == 0 || k < limit)
}

func (w *requests) event(c *conn) {
	for {
		complete, fault := w.l.exchange(c)
		if fault != "" {
			if c.state == busy {
				w.outstanding--
			}
			w.l.fail(c, fault)
			return
		}
		if !complete {
			return
		}
		now := Now()
		w.l.answered(c.intended, now)
		w.outstanding--
		c.state, c.freeSince = free, now
		if !w.take(c, now) && !c.readable {
			return // otherwise something follows the response
		}
	}
}

func (w *requests) lost(c *conn) { w.l.open(c, uint64(c.id)) }

// due goes through the operations that are due. A connection that is busy, or late with earlier
// operations, begins its own when those have ended.
func (w *requests) due(now int64) int64 {
	for w.open() && !w.exhausted {
		c := w.rota.conn()
		k := w.rota.operation(c, w.rota.round)
		intended := w.schedule.at(k)
		if !w.scheduled(k, intended) {
			w.exhausted = true
			break
		}
		if intended > now {
			return intended
		}
		w.outstanding++
		if c.state == free {
			w.next(c)
		}
		w.rota.advance()
	}
	return forever
}

func (w *requests) done(now int64) bool {
	over := now >= w.l.until
	if w.open() {
		over = over || w.exhausted && w.l.run.spec.Limit > 0
	} else {
		over = over || w.left == 0
	}
	return over && w.outstanding == 0
}

func (w *requests) finish(now int64) {
	for i := range w.l.conns {
		c := &w.l.conns[i]
		if c.state == busy {
			w.l.unanswered(c.intended, now)
		}
		if !w.open() || !w.l.begun {
			continue
		}
		for round := c.round; ; round++ {
			k := w.rota.operation(c, round)
			intended := w.schedule.at(k)
			if intended > now || !w.scheduled(k, intended) {
				break
			}
			w.l.unanswered(intended, now)
		}
	}
}

// rota gives numbered operations to the connections in turn.
type rota struct {
	conns []conn
	turn  int
	round uint64
}

// operation returns the number of c's operation in a round.
func (r *rota) operation(c *conn, round uint64) uint64 {
	return round*uint64(len(r.conns)) + uint64(c.id)
}

func (r *rota) conn() *conn { return &r.conns[r.turn] }

func (r *rota) advance() {
	if r.turn++; r.turn == len(r.conns) {
		r.turn = 0
		r.round++
	}
}
