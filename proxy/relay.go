package proxy

import (
	"math"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

const (
	// spliceAfter reads in a row that filled a buffer switch a flow to a pipe.
	spliceAfter = 4
	// copyAfter splices in a row that would have fitted into a buffer switch it back to buffers.
	copyAfter = 8
)

// relay starts both flows of a connection whose backend has answered. first is what the backend
// gets before more is read from the client.
func (w *worker) relay(c *conn, first []byte) {
	c.state = stateRelaying
	c.outcome = Outcome{}
	c.searchOver()
	now := w.loop.Now()
	c.connected, c.lastActive = now, now
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepConnected, c.backend, c.dialled, Outcome{})
	}
	if w.startPace(c); c.pace != nil {
		c.pace.flow[clientEnd].charge(int(c.flow[clientEnd].bytes) + len(first)) // see greet
	}
	w.watchIdle(c)
	if len(first) > 0 {
		w.loop.Send(c.slot(backendEnd), first)
	} else {
		w.read(c, clientEnd)
	}
	w.read(c, backendEnd)
}

// watchIdle sets the timer to the idle timeout, to the next look at the peers or to the end of the
// connection's lifetime, whichever comes first. Bytes do not move the timer: when it expires,
// relayExpired checks lastActive.
func (w *worker) watchIdle(c *conn) {
	due := int64(math.MaxInt64)
	if limit := c.limit(); limit > 0 {
		due = c.idleSince() + limit
	}
	due = min(due, w.nextLook(c))
	if c.listener.Lifetime > 0 {
		due = min(due, w.nextLifeCheck(c))
	}
	if c.flags&(flagHalfClosed|flagWatched) == flagHalfClosed || c.flags&flagDiscarding != 0 {
		due = min(due, w.loop.Now()+int64(watchAfter))
	}
	w.loop.SetTimer(c.index, due)
}

func (w *worker) relayExpired(c *conn) {
	if c.paced() {
		c.lastActive = w.loop.Now() // bytes have come; it is the proxy that holds them back
	}
	w.watchEnded(c)
	if c.flags&flagDiscarding != 0 {
		for e := range c.flow {
			w.endRest(c, e)
		}
		if w.endIfOver(c) {
			return
		}
	}
	if w.lookAfterPeers(c) || c.listener.Lifetime > 0 && w.endIfOld(c) {
		return
	}
	limit := c.limit()
	// Looked, not Now: after a pause, bytes may be waiting.
	if limit == 0 || c.idleSince()+limit > w.loop.Looked() {
		w.watchIdle(c)
		return
	}
	if w.delivering(c) {
		c.lastActive = w.loop.Now()
		w.watchIdle(c)
		return
	}
	// One end has failed, and the other one reads nothing: end now, with the known outcome.
	if c.flags&flagResetOut != 0 {
		for e := range c.flow {
			if c.flow[e].ended == flowOpen {
				c.flow[e].ended = flowDead
			}
		}
		w.end(c, c.outcome)
		return
	}
	// Reset, so that no peer takes an incomplete stream for a complete one. A reset also reaches a
	// peer that has already been sent a FIN: a second FIN would send no packet.
	c.flags |= flagResetOut
	reason := ReasonIdleTimeout
	if c.flags&flagHalfClosed != 0 && limit == int64(c.listener.HalfClose) {
		reason = ReasonHalfCloseTimeout
	}
	w.end(c, Outcome{Side: SideProxy, Reason: reason})
}

// delivering reports whether a slow reader has received bytes since the last check. A send buffer
// can hold megabytes, and has room for more only after a good part of them has arrived, so there
// may be no completion for minutes. The first check grants one more period.
func (w *worker) delivering(c *conn) bool {
	taken, waiting := uint64(0), false
	for e := range 2 {
		fd := w.loop.FD(c.slot(e))
		unsent := rawsys.Unsent(fd)
		waiting = waiting || unsent > 0
		var info unix.TCPInfo
		if rawsys.TCPInfo(fd, &info) == 0 {
			taken += info.Bytes_acked
		} else { // a unix socket
			taken -= uint64(unsent)
		}
	}
	moved := waiting && taken != c.taken
	c.taken = taken
	return moved
}

// read starts the next read of the flow from end.
func (w *worker) read(c *conn, end int) {
	f := &c.flow[end]
	if f.ended != flowOpen || w.loop.Reading(c.slot(end)) == eventloop.OpWatch {
		return // if it is watched, watchDone reads
	}
	if c.listener.CloseOnFIN && c.flow[1-end].ended == flowFIN {
		if w.endRest(c, end); f.ended != flowOpen {
			return
		}
	}
	if c.pace != nil && c.flags&flagDiscarding == 0 && w.readPaced(c, end) {
		return
	}
	if f.spliced {
		w.loop.Fill(c.slot(end))
	} else {
		w.loop.Recv(c.slot(end))
	}
}

// relayDone continues the flow from end, or the flow to end if a write has ended.
func (w *worker) relayDone(c *conn, end int, done *eventloop.Completion) {
	switch done.Op {
	case eventloop.OpReady:
		w.readyDone(c, end, done)
	case eventloop.OpRecv, eventloop.OpFill:
		if c.pace == nil || !w.paceRead(c, end, done) {
			w.readDone(c, end, done)
		}
	case eventloop.OpSend, eventloop.OpDrain:
		w.writeDone(c, 1-end, done)
	}
	w.endIfOver(c)
}

// endIfOver ends a connection whose two streams have ended, and reports whether they have.
func (w *worker) endIfOver(c *conn) bool {
	over := c.flow[clientEnd].ended != flowOpen && c.flow[backendEnd].ended != flowOpen
	if over {
		w.end(c, c.outcome)
	}
	return over
}

// readDone passes on the bytes that were read from end, or the end of its stream.
func (w *worker) readDone(c *conn, end int, done *eventloop.Completion) {
	f := &c.flow[end]
	other := c.slot(1 - end)
	switch {
	case f.ended == flowDead: // its reader has failed; see broken
		w.discard(done)
	case done.N > 0 && c.flags&flagDiscarding != 0:
		if end == backendEnd {
			c.answer(w.loop.Now())
		}
		w.discard(done)
		if f.spliced {
			w.splice(c, f, false)
		}
		w.read(c, end)
	case done.N > 0:
		c.lastActive = w.loop.Now()
		if c.flags&flagTraced != 0 {
			w.noteByte(c, end)
		}
		if end == clientEnd {
			c.flags |= flagAsking
		} else if c.flags&(flagAnswered|flagAsking) != flagAnswered {
			c.answer(c.lastActive)
		}
		w.adapt(c, f, done.N)
		if f.pipe = done.Pipe; f.pipe != nil {
			w.loop.Drain(other, f.pipe)
		} else {
			// After Last, streamEnded follows and sends the FIN.
			w.loop.Forward(other, done.Buffer, done.N, done.Last)
		}
	case done.Err == 0:
		w.streamEnded(c, end)
	default:
		w.broken(c, end, done.Err)
		if f.ended == flowOpen {
			f.ended = flowReset
		}
	}
}

// writeDone starts the next read of the flow from end after the other end has taken its bytes.
func (w *worker) writeDone(c *conn, end int, done *eventloop.Completion) {
	f := &c.flow[end]
	c.passed(end, done.N)
	c.lastActive = w.loop.Now()
	w.drop(f) // all sent, or never will be
	if done.Err != 0 {
		if done.Err != unix.ECANCELED {
			w.broken(c, 1-end, done.Err)
		}
		if f.ended == flowOpen {
			f.ended = flowDead
		}
		return
	}
	if f.spliced && (f.streak >= copyAfter || !w.loop.Splices()) {
		w.splice(c, f, false)
	}
	w.read(c, end)
}

// adapt switches between buffers and a pipe. Buffers are cheaper for one large message, a pipe for
// a long stream. Switching costs system calls, so it takes a few reads of a kind in a row.
// writeDone switches back when the pipe is empty: what is in it must not wait for a slow reader.
func (w *worker) adapt(c *conn, f *flow, n int) {
	large := n >= eventloop.BufferSize
	if large == f.spliced {
		f.streak = 0
		return
	}
	f.streak++
	if !f.spliced && f.streak >= spliceAfter && w.loop.Splices() {
		w.splice(c, f, true)
	}
}

// splice sets whether the next read of a flow goes through a pipe.
func (w *worker) splice(c *conn, f *flow, on bool) {
	f.spliced, f.streak = on, 0
	w.loop.Spliced(c.slot(clientEnd), on)
	w.loop.Spliced(c.slot(backendEnd), on)
}

// streamEnded passes a FIN on. All bytes before it have been sent: a flow reads only when it holds
// no bytes.
func (w *worker) streamEnded(c *conn, end int) {
	f := &c.flow[end]
	if c.outcome.Reason == ReasonNone {
		c.outcome = Outcome{Side: sideOf(end), Reason: ReasonClosed}
	}
	w.drop(f)
	f.ended = flowFIN
	if c.flags&flagTraced != 0 {
		w.noteEnd(c, StepFIN, end, 0)
	}
	if end == backendEnd {
		w.uncount(c) // before the client sees the end and can reconnect
	}
	if c.flow[1-end].ended != flowOpen {
		return // both have ended, and closing the sockets sends the FIN
	}
	w.loop.Shutdown(c.slot(1 - end))
	c.flags |= flagHalfClosed
	c.lastActive = w.loop.Now()
	if c.listener.CloseOnFIN && w.loop.Writing(c.slot(end)) == eventloop.OpNone {
		w.endRest(c, 1-end)
	}
	w.watchIdle(c)
}

// endRest ends the stream from end if it is still open after the first FIN, which ends the
// connection (Listener.CloseOnFIN). It sends a FIN to the other end too. Until end has received all
// bytes, what end sends is read and discarded. If its socket were closed, the kernel would answer
// such bytes with a reset, and drop what it has not sent yet.
func (w *worker) endRest(c *conn, end int) {
	f := &c.flow[end]
	if f.ended != flowOpen {
		return
	}
	if c.flags&flagDiscarding == 0 {
		c.flags |= flagDiscarding | flagWatched // no need to watch the other end
		w.loop.Shutdown(c.slot(1 - end))
	}
	if rawsys.Unsent(w.loop.FD(c.slot(end))) == 0 {
		f.ended = flowFIN
	}
}

// broken notes that one end has failed: nothing can be sent to it any more. What it sent before is
// still read and delivered. Then the other end gets a reset too.
func (w *worker) broken(c *conn, end int, errno unix.Errno) {
	if c.flags&flagResetOut == 0 {
		c.flags |= flagResetOut
		c.outcome = outcomeOf(sideOf(end), errno)
		c.failed = w.loop.Now()
	}
	if c.flags&flagTraced != 0 {
		w.noteEnd(c, StepReset, end, errno)
	}
	if end == backendEnd {
		w.uncount(c)
	}
	towards := &c.flow[1-end] // from the other end to this one
	if towards.ended != flowOpen {
		return
	}
	towards.ended = flowDead
	c.flags |= flagHalfClosed // limits the time for delivering the rest
	_ = w.delivering(c)       // count only bytes received from now on
	w.watchIdle(c)
	w.loop.CancelRead(c.slot(1 - end))
	w.loop.CancelWrite(c.slot(end))
}

// discard releases what a read has returned.
func (w *worker) discard(done *eventloop.Completion) {
	if done.Buffer != 0 {
		w.loop.Release(done.Buffer)
	}
	if done.Pipe != nil {
		w.loop.ReturnPipe(done.Pipe)
	}
}

// drop releases what a flow holds. None of it may be in flight.
func (w *worker) drop(f *flow) {
	if f.pipe != nil {
		w.loop.ReturnPipe(f.pipe)
		f.pipe = nil
	}
}
