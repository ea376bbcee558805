package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

const (
	// flushEvery and flushMost: how often it is looked whether sent bytes have arrived before a reset, and for how long.
	flushEvery = 10 * time.Millisecond
	flushMost  = 2 * time.Second
)

// end ends a connection with outcome o. What is in flight is cancelled first; bytes that have not been passed on by
// now are lost, which is why streams that end by themselves get here only after their last byte was sent.
func (w *worker) end(index uint32, c *conn, o Outcome) {
	if c.state == stateDenying {
		w.denying--
		c.flow[client].bytes = 0 // thrown away
	}
	w.leaveWaiting(c)
	w.withdrawRival(c)
	if c.state == stateQueued {
		w.leaveQueue(c)
	}
	if o.Side == SideProxy && w.cutsShort(index, c) {
		c.flags |= flagResetOut
	}
	c.outcome = o
	c.state = stateClosing
	w.closing++
	w.loop.StopTimer(index)
	busy := false
	for e := range 2 {
		if c.flags&(flagClient<<e) != 0 {
			slot := slotOf(index, e)
			w.loop.CancelRead(slot)
			w.loop.CancelWrite(slot)
			busy = busy || w.loop.Busy(slot)
		}
	}
	if !busy {
		w.ended(index, c)
	}
}

// cutsShort reports whether ending the connection now with a FIN would make an incomplete stream look complete: bytes are
// on their way through the proxy, or have come and were not read yet, or one stream has ended and its sender still waits
// for the other stream.
func (w *worker) cutsShort(index uint32, c *conn) bool {
	if c.state != stateRelaying {
		return false
	}
	if (c.flow[client].ended == flowOpen) != (c.flow[server].ended == flowOpen) {
		return true
	}
	for e := range 2 {
		if c.flow[e].ended != flowOpen {
			continue
		}
		if w.loop.Writing(slotOf(index, 1-e)) != eventloop.OpNone || rawsys.Unread(w.loop.FD(slotOf(index, e))) > 0 {
			return true
		}
	}
	return false
}

// closeDone takes note of how a cancelled operation ended.
func (w *worker) closeDone(index uint32, c *conn, done *eventloop.Completion) {
	switch done.Op {
	case eventloop.OpSend, eventloop.OpDrain:
		c.flow[1-int(done.Slot)%2].bytes += uint64(done.N)
	case eventloop.OpRecv, eventloop.OpFill:
		if done.N > 0 && c.outcome.Side == SideProxy { // see cutsShort
			c.flags |= flagResetOut
		}
		w.discard(done)
	}
	if !w.busy(index, c) {
		w.ended(index, c)
	}
}

func (w *worker) busy(index uint32, c *conn) bool {
	return c.flags&flagClient != 0 && w.loop.Busy(slotOf(index, client)) ||
		c.flags&flagBackend != 0 && w.loop.Busy(slotOf(index, server))
}

// ended is reached when nothing is in flight any more.
func (w *worker) ended(index uint32, c *conn) {
	for e := range c.flow {
		w.drop(&c.flow[e])
	}
	if c.flags&flagResetOut != 0 && w.unsent(index, c) {
		c.state = stateFlushing
		c.flushing = w.loop.Now()
		w.loop.SetTimer(index, w.loop.Now()+int64(flushEvery))
		return
	}
	w.finish(index, c)
}

// flush waits until what was sent before a reset has arrived: a reset makes the kernel throw away what has not.
func (w *worker) flush(index uint32, c *conn) {
	now := w.loop.Now()
	if now-c.flushing < int64(flushMost) && w.unsent(index, c) {
		w.loop.SetTimer(index, now+int64(flushEvery))
		return
	}
	w.finish(index, c)
}

// unsent reports whether an end that has not failed has yet to take bytes that were sent to it.
func (w *worker) unsent(index uint32, c *conn) bool {
	for e := range 2 {
		failed := c.flow[e].ended == flowReset || c.flow[1-e].ended == flowDead
		if c.flags&(flagClient<<e) != 0 && !failed && rawsys.Unsent(w.loop.FD(slotOf(index, e))) > 0 {
			return true
		}
	}
	return false
}

// finish closes what is open, writes the record and frees the place.
func (w *worker) finish(index uint32, c *conn) {
	w.closing--
	w.record(c, w.loop.FD(slotOf(index, client)))
	w.blame(c)
	// The order matters. A client that sees its connection end finds its slot on the backend free, and the backend sees
	// the old connection end before a new one begins.
	w.letGo(index, c, server)
	w.uncount(c)
	w.letGo(index, c, client)
	if c.flags&flagNoPlace != 0 {
		w.server.denied.Add(-1)
	} else {
		w.givePlace(c.listener)
	}
	w.freeConn(index, c)
	w.load.Add(-1)
}

// letGo closes one end's socket. The kernel still delivers bytes that have not arrived yet, for as long as the peer
// answers. With TCP_USER_TIMEOUT, it would discard them if the reader pauses for longer than that.
func (w *worker) letGo(index uint32, c *conn, end int) {
	slot := slotOf(index, end)
	switch {
	case c.flags&(flagClient<<end) == 0:
	case c.flags&flagResetOut != 0:
		w.loop.Reset(slot)
	default:
		if end == client || c.flags&flagKeptAlive != 0 {
			rawsys.SetInt(w.loop.FD(slot), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
		}
		w.loop.Close(slot)
	}
}

// record tells the log and the metrics about a finished connection. fd is the client's socket, -1 if it is closed.
func (w *worker) record(c *conn, fd int) {
	if !w.server.recording {
		return
	}
	r := w.records.next()
	if r == nil {
		return // the log is behind; that is counted
	}
	*r = Record{
		Outcome:  c.outcome,
		Listener: c.listener,
		Client:   c.peer,
		Backend:  c.backend,
		Rule:     c.rule,
		BytesIn:  c.flow[client].bytes,
		BytesOut: c.flow[server].bytes,
		Accepted: time.Duration(c.accepted),
		Duration: time.Duration(w.loop.Now() - c.accepted),
		Attempts: int(c.attempts),
		Failed:   c.failedBefore(),
	}
	if c.connected != 0 {
		r.Connect = time.Duration(c.connected - c.dialled)
	}
	if fd >= 0 && c.peer.IsValid() {
		var info unix.TCPInfo
		if rawsys.TCPInfo(fd, &info) == 0 {
			r.RTT = time.Duration(info.Rtt) * time.Microsecond
			r.Retransmits = info.Total_retrans
		}
	}
	if w.records.many() {
		w.records.publish(w.server.wakeRecorder)
	}
}
