package proxy

import (
	"slices"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

// A leaver is a connection in stateLeaving or stateMoving: it is being taken out of its loop, or
// its sockets are on their way to another process.
//
// Taking it out has two steps. First, what is in flight is cancelled; cancelled operations still
// complete, and may have moved bytes. Then the engine is asked for what it has received ahead.
// After that, every byte that was read and is not yet written stands in moved.Pending, in order,
// and all others are in the sockets.
type leaver struct {
	worker  *worker
	conn    *conn // nil for a parked client
	arrival arrival
	socket  *listenSocket // at which the client is parked
	was     connState
	group   *leaving
	sockets connFlags // flagClient and flagBackend, while the sockets are in moved
	moved   Moved
	unsent  [2][]byte // by flow: what its send in flight had left to send when it was cancelled
	taken   [2]int    // by flow: the bytes before these
	// What failed meanwhile, by end; see broken.
	sendFailed, recvFailed, dialFailed [2]unix.Errno
}

// leaving is a group of connections of one worker that leave together.
type leaving struct {
	open   int       // connections that have not left yet, and 1 while more may come
	left   []*leaver // have left
	answer func([]*leaver)
}

// leave takes connections that choose accepts out of the loop, no more than most, from index *next
// on. It calls answer on the loop with those that have left. By then, *next is the index to
// continue at.
func (w *worker) leave(choose func(*conn) bool, next *uint32, most int, answer func([]*leaver)) {
	g := &leaving{open: 1, answer: answer}
	for ; *next < w.indices() && g.open <= most; *next++ {
		if c := w.conn(*next); c.state != stateNone && choose(c) {
			g.open++
			w.startLeaving(c, g)
		}
	}
	g.oneLess()
}

func (g *leaving) oneLess() {
	if g.open--; g.open == 0 {
		g.answer(g.left)
	}
}

// startLeaving cancels what is in flight on a connection.
func (w *worker) startLeaving(c *conn, g *leaving) {
	l := &leaver{worker: w, conn: c, was: c.state, group: g}
	if w.leavers == nil {
		w.leavers = make(map[uint32]*leaver)
	}
	w.leavers[c.index] = l
	w.withdrawHedge(c)
	switch c.state {
	case stateQueued:
		w.leaveQueue(c)
	case stateRetrying:
		w.leaveRetrying(c)
	case stateDialling:
		if c.flags&flagBackend != 0 && !w.loop.Busy(c.slot(backendEnd)) { // waits for room in a queue
			w.forgetDial(c)
		}
	}
	c.state = stateLeaving
	c.flags &^= flagMayHedge
	w.loop.StopTimer(c.index)
	w.endPace(c)
	for e := range 2 {
		if c.flags&(flagClient<<e) != 0 {
			slot, from := c.slot(e), 1-e
			rest, taken := w.loop.Unsent(slot)
			l.unsent[from], l.taken[from] = slices.Clone(rest), taken
			w.loop.CancelRead(slot)
			w.loop.CancelWrite(slot)
		}
	}
	w.settle(c, l)
}

// forgetDial closes the socket of a dial without a result. The process that takes the client dials
// again: nothing was sent to the backend yet. It gets a reset if it answers just now: a FIN would
// look like a client that sends nothing.
func (w *worker) forgetDial(c *conn) {
	w.loop.Reset(c.slot(backendEnd))
	c.flags &^= flagBackend
	w.uncount(c)
	c.attempts--
}

// leavingDone notes how an operation of a leaving connection has ended.
func (w *worker) leavingDone(c *conn, end int, done *eventloop.Completion) {
	l := w.leavers[c.index]
	switch done.Op {
	case eventloop.OpRecv, eventloop.OpFill:
		if l.was == stateDialling { // the answer of a backend; see startTLSDone
			w.discard(done)
			w.forgetDial(c)
			break
		}
		l.received(end, done)
	case eventloop.OpSend, eventloop.OpDrain:
		l.sent(1-end, done)
	case eventloop.OpConnect:
		w.leavingDialDone(c, l, done)
	case eventloop.OpWatch: // what it has found stays on the socket, and the next watch finds it
	}
	w.settle(c, l)
}

// received keeps bytes that came before the cancel took effect. An end of the stream without an
// error is not kept: the next receive finds it again. An error is, because the kernel reports it
// once.
func (l *leaver) received(end int, done *eventloop.Completion) {
	w, c := l.worker, l.conn
	f := &c.flow[end]
	switch {
	case f.ended != flowOpen: // its reader has failed
	case done.N > 0:
		c.lastActive = w.loop.Now()
		if end == clientEnd {
			c.flags |= flagAsking
		} else {
			c.answer(c.lastActive)
		}
		if c.flags&flagDiscarding != 0 {
			break
		}
		if done.Pipe != nil {
			l.keep(end, w.loop.Empty(done.Pipe))
		} else {
			l.keep(end, w.loop.Bytes(done.Buffer)[:done.N])
		}
	case done.Err != 0 && done.Err != unix.ECANCELED:
		l.recvFailed[end] = done.Err
	}
	w.discard(done)
}

// sent keeps what a send in flight has not sent.
func (l *leaver) sent(from int, done *eventloop.Completion) {
	w, c := l.worker, l.conn
	f := &c.flow[from]
	c.passed(from, done.N)
	if done.N > 0 {
		c.lastActive = w.loop.Now()
	}
	switch {
	case done.Err != 0 && done.Err != unix.ECANCELED:
		l.sendFailed[1-from] = done.Err
	case f.ended != flowOpen:
	case done.Op == eventloop.OpDrain:
		l.keep(from, w.loop.Empty(f.pipe))
	default:
		l.keep(from, l.unsent[from][done.N-l.taken[from]:])
	}
	l.unsent[from] = nil
	w.drop(f)
}

func (l *leaver) keep(from int, data []byte) {
	l.moved.Pending[from] = append(l.moved.Pending[from], data...)
}

// leavingDialDone: a dial that was answered in time moves with its connection.
func (w *worker) leavingDialDone(c *conn, l *leaver, done *eventloop.Completion) {
	switch {
	case done.Err == 0 && c.asksForTLS():
		w.forgetDial(c)
	case done.Err == 0 || answered(done.Err):
		w.dialOK(c.pool, c.backend, c.dialled)
		c.outcome = Outcome{}
		c.searchOver()
		c.connected, c.lastActive = w.loop.Now(), w.loop.Now()
		l.dialFailed[backendEnd] = done.Err
		if c.hello != nil || c.pool.SendProxy != nil {
			g := w.greet(c, done.Err)
			l.keep(clientEnd, g.rest)
			l.dialFailed[backendEnd], l.recvFailed[clientEnd] = g.failed[backendEnd], g.failed[clientEnd]
		}
	case done.Err == unix.ECANCELED, done.Err == unix.EAGAIN: // EAGAIN: see queueFull
		w.forgetDial(c)
	default:
		c.outcome = w.dialOver(c.pool, c.backend, c.dialled, done)
		c.flags &^= flagBackend
		w.uncount(c)
		c.searching().noteFailed(c.backend, c.outcome.Reason)
	}
}

// settle continues once nothing is in flight on a leaving connection.
func (w *worker) settle(c *conn, l *leaver) {
	if w.busy(c) {
		return
	}
	settled := true
	for e := range 2 {
		if slot := c.slot(e); c.flags&(flagClient<<e) != 0 && w.loop.Ahead(slot) {
			settled = false
			w.loop.Recv(slot)
			w.loop.CancelRead(slot)
		}
	}
	if settled {
		w.hasLeft(c, l)
	}
}

// hasLeft takes the sockets out of the loop, unless the connection is over.
func (w *worker) hasLeft(c *conn, l *leaver) {
	if w.noteFailures(c, l); w.overHere(c, l) {
		delete(w.leavers, c.index)
		l.group.oneLess()
		return
	}
	pending := l.moved.Pending
	if !c.hello.empty() { // it has no backend yet
		pending[clientEnd] = append(c.hello.read, pending[clientEnd]...)
		c.hello.read = nil
	}
	l.moved = c.pack()
	l.moved.Pending = pending
	if t := w.traced[c.index]; c.flags&flagTraced != 0 && t != nil {
		l.moved.Trace = t.number
	}
	l.sockets = c.flags & (flagClient | flagBackend)
	l.moved.Client = w.loop.Detach(c.slot(clientEnd))
	if c.flags&flagBackend != 0 {
		l.moved.Backend = w.loop.Detach(c.slot(backendEnd))
	}
	for e := range c.flow {
		c.flow[e].spliced, c.flow[e].streak = false, 0
	}
	c.flags &^= flagClient | flagBackend
	if c.flags&flagDiscarding == 0 {
		c.flags &^= flagWatched // watchIdle watches again
	}
	c.state = stateMoving
	l.group.left = append(l.group.left, l)
	l.group.oneLess()
}

// noteFailures does what readDone, writeDone and connected do after an error.
func (w *worker) noteFailures(c *conn, l *leaver) {
	pending := &l.moved.Pending
	if l.was == stateHello {
		if errno := l.recvFailed[clientEnd]; errno != 0 { // no backend has to learn of it
			c.outcome = outcomeOf(SideClient, errno)
			c.flow[clientEnd].ended, c.flow[backendEnd].ended = flowReset, flowDead
		}
		return
	}
	for e := range 2 {
		if errno := l.sendFailed[e]; errno != 0 {
			w.broken(c, e, errno)
		}
	}
	for e := range 2 {
		if errno := l.dialFailed[e]; errno != 0 {
			w.broken(c, e, errno)
		}
		if errno := l.recvFailed[e]; errno != 0 {
			w.broken(c, e, errno)
			if c.flow[e].ended == flowOpen && len(pending[e]) == 0 {
				c.flow[e].ended = flowReset
			}
		}
	}
	for e := range 2 {
		if c.flow[e].ended != flowOpen {
			pending[e] = nil
		}
	}
	w.loop.StopTimer(c.index) // broken has set it
}

// overHere ends a connection that need not move: both its streams have ended, or the
// server ends all connections. It reports whether it has.
func (w *worker) overHere(c *conn, l *leaver) bool {
	outcome, end := c.outcome, w.end
	switch {
	case c.flow[clientEnd].ended != flowOpen && c.flow[backendEnd].ended != flowOpen:
	case w.ending.Reason != ReasonNone:
		outcome, end = w.ending, w.cutOff
		if len(l.moved.Pending[clientEnd])+len(l.moved.Pending[backendEnd]) > 0 {
			c.flags |= flagResetOut // see cutsShort
		}
	default:
		return false
	}
	if c.flags&flagBackend != 0 {
		c.state = stateRelaying
	}
	end(c, outcome)
	return true
}

// comeBack continues a connection here whose delivery to another process has failed.
func (w *worker) comeBack(l *leaver) {
	c := l.conn
	delete(w.leavers, c.index)
	c.flags |= l.sockets
	if l.was == stateQueued {
		c.flags &^= flagQueued // it goes to the end of the queue: those before it have not left yet
	}
	w.attachMoved(c, &l.moved)
	w.takeUp(c, l.moved.Pending)
}

// gone forgets a connection that is in another process now. What it holds of this process is owed
// until the hand-over is over.
func (w *worker) gone(l *leaver) {
	c := l.conn
	delete(w.leavers, c.index)
	debt := owed{listener: c.listener}
	if c.flags&flagCounted != 0 {
		debt.pool, debt.backend = c.pool, c.backend
	}
	w.owed = append(w.owed, debt)
	c.unlimit() // the other process counts it
	c.counts.moved.add(1)
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepMoved})
	}
	w.load.Add(-1)
	w.freeConn(c)
}

// leaveParked takes parked clients out, some at a time.
func (w *worker) leaveParked(answer func([]*leaver)) {
	var left []*leaver
	for _, s := range w.sockets {
		for len(s.parked) > 0 && len(left) < handOverMost {
			a := s.nextParked()
			left = append(left, &leaver{worker: w, arrival: a, socket: s, moved: Moved{
				Client: a.fd, Backend: -1, Parked: true, Header: a.header,
				Listener: a.listener.Name, Pool: a.listener.poolName(), Peer: a.client, Accepted: a.at, Shadow: a.shadow,
			}})
		}
	}
	answer(left)
}

func (l *leaver) parked() bool { return l.conn == nil }

// parkAgain puts a client back that was parked first.
func (s *listenSocket) parkAgain(a arrival) {
	s.parked = append([]arrival{a}, s.parked...)
	s.worker.crowded = true
	s.waitForSlots()
}
