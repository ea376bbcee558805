package proxy

import (
	"cmp"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

const (
	// Before a reset, the worker checks every flushEvery, for flushMost at most, whether the bytes
	// sent before have arrived.
	flushEvery = 10 * time.Millisecond
	flushMost  = 2 * time.Second
)

// end ends a connection with outcome o. It cancels what is in flight first. Bytes that have not
// been passed on by then are lost, so streams that end by themselves get here only after their last
// byte was sent.
func (w *worker) end(c *conn, o Outcome) {
	switch c.state {
	case stateTurnedAway:
		w.lingering--
		c.flow[clientEnd].bytes = 0 // discarded
	case stateQueued:
		w.leaveQueue(c)
	}
	w.leaveRetrying(c)
	w.withdrawHedge(c)
	if o.Side == SideProxy && w.cutsShort(c) {
		c.flags |= flagResetOut
	}
	c.outcome = o
	c.state = stateClosing
	w.closing++
	w.loop.StopTimer(c.index)
	w.endPace(c)
	busy := false
	for e := range 2 {
		if c.flags&(flagClient<<e) != 0 {
			slot := c.slot(e)
			w.loop.CancelRead(slot)
			w.loop.CancelWrite(slot)
			busy = busy || w.loop.Busy(slot)
		}
	}
	if !busy {
		w.ended(c)
	}
}

// cutsShort reports whether ending the connection now with a FIN would make an incomplete stream
// look complete. That is so if
//   - bytes are on their way through the proxy,
//   - bytes have arrived and were not read yet, or
//   - one stream has ended, and its sender still waits for the other stream.
func (w *worker) cutsShort(c *conn) bool {
	if c.state != stateRelaying {
		return false
	}
	if (c.flow[clientEnd].ended == flowOpen) != (c.flow[backendEnd].ended == flowOpen) {
		return true
	}
	for e := range 2 {
		if c.flow[e].ended != flowOpen {
			continue
		}
		if w.loop.Writing(c.slot(1-e)) != eventloop.OpNone || rawsys.Unread(w.loop.FD(c.slot(e))) > 0 {
			return true
		}
	}
	return false
}

// closeDone notes how a cancelled operation ended.
func (w *worker) closeDone(c *conn, done *eventloop.Completion) {
	switch done.Op {
	case eventloop.OpSend, eventloop.OpDrain:
		c.passed(1-int(done.Slot)%2, done.N)
	case eventloop.OpRecv, eventloop.OpFill:
		if done.N > 0 && c.outcome.Side == SideProxy { // see cutsShort
			c.flags |= flagResetOut
		}
		w.discard(done)
	}
	if !w.busy(c) {
		w.ended(c)
	}
}

func (w *worker) busy(c *conn) bool {
	return c.flags&flagClient != 0 && w.loop.Busy(c.slot(clientEnd)) ||
		c.flags&flagBackend != 0 && w.loop.Busy(c.slot(backendEnd))
}

// ended is called when no operation is in flight any more.
func (w *worker) ended(c *conn) {
	for e := range c.flow {
		w.drop(&c.flow[e])
	}
	if c.flags&flagResetOut != 0 && w.unsent(c) {
		c.state = stateFlushing
		c.flushing = w.loop.Now()
		w.loop.SetTimer(c.index, w.loop.Now()+int64(flushEvery))
		return
	}
	w.finish(c)
}

// flush waits until the bytes sent before a reset have arrived: a reset makes the kernel discard
// the rest.
func (w *worker) flush(c *conn) {
	now := w.loop.Now()
	if now-c.flushing < int64(flushMost) && w.unsent(c) {
		w.loop.SetTimer(c.index, now+int64(flushEvery))
		return
	}
	w.finish(c)
}

// unsent reports whether an end that has not failed has yet to receive bytes that were sent to it.
func (w *worker) unsent(c *conn) bool {
	for e := range 2 {
		failed := c.flow[e].ended == flowReset || c.flow[1-e].ended == flowDead
		if c.flags&(flagClient<<e) != 0 && !failed && rawsys.Unsent(w.loop.FD(c.slot(e))) > 0 {
			return true
		}
	}
	return false
}

// finish writes the record, closes the sockets and releases everything.
func (w *worker) finish(c *conn) {
	w.record(c, w.loop.FD(c.slot(clientEnd)))
	w.blame(c)
	// The order matters. When a client sees its connection end, its slot on the backend must be
	// free. The backend must see the old connection end before a new one begins.
	w.letGo(c, backendEnd)
	w.uncount(c)
	w.letGo(c, clientEnd)
	w.release(c)
}

// release gives back what a connection holds besides its sockets: its slot, its index and its
// counts.
func (w *worker) release(c *conn) {
	w.closing--
	w.load.Add(-1)
	w.uncount(c)
	c.unlimit()
	if c.flags&flagSlot != 0 {
		w.giveSlot(c)
	} else {
		w.server.slotless.Add(-1)
	}
	w.freeConn(c)
}

// abandon closes everything that is left on a worker whose loop has ended, and records the clients.
func (w *worker) abandon() {
	stopped := Outcome{Side: SideProxy, Reason: ReasonStopped}
	waits := slicesMost
	record := func(c *conn, fd int) { // waits for the recorder, but not for a log that blocks
		for ; w.server.recording.Load() && w.records.room() == 0 && waits > 0; waits-- {
			time.Sleep(sliceEvery)
		}
		w.record(c, fd)
		w.steps.publish(w.server.wakeRecorder)
		w.records.publish(w.server.wakeRecorder)
	}
	w.connections(func(c *conn) {
		if c.state != stateClosing && c.state != stateFlushing {
			c.outcome = stopped
		}
		if c.state == stateTurnedAway {
			c.flow[clientEnd].bytes = 0 // discarded
		}
		record(c, w.loop.FD(c.slot(clientEnd)))
		for end := range 2 {
			if c.flags&(flagClient<<end) != 0 {
				rawsys.Close(w.loop.FD(c.slot(end)))
			}
		}
	})
	abandoned := func(a arrival) {
		record(w.neverServed(a, stopped, ""), a.fd)
		rawsys.Close(a.fd)
	}
	for _, s := range w.sockets {
		for _, a := range s.parked {
			abandoned(a)
		}
	}
	w.loop.Undelivered(func(m any) {
		switch m := m.(type) {
		case arrival:
			abandoned(m)
		case *adoption:
			w.listenerCounters(m.listener).adopted.add(1)
			if m.moved.Backend >= 0 {
				rawsys.Close(m.moved.Backend)
			}
			abandoned(arrival{fd: m.moved.Client, client: m.moved.Peer, listener: m.listener, at: m.moved.Accepted})
		}
	})
	for _, t := range w.tasks {
		switch t := t.(type) {
		case *listenSocket:
			if t.state != listenClosed {
				rawsys.Close(t.fd)
			}
		case *held:
			t.close()
		case *hedge:
			rawsys.Close(w.loop.FD(t.slot()))
		}
	}
	w.conns, w.tasks, w.sockets = nil, nil, nil
}

// letGo closes one end's socket. The kernel still delivers bytes that have not arrived yet, as long
// as the peer responds. TCP_USER_TIMEOUT is cleared, because with it the kernel would discard these
// bytes if the reader pauses for longer than that.
func (w *worker) letGo(c *conn, end int) {
	slot := c.slot(end)
	switch {
	case c.flags&(flagClient<<end) == 0:
	case end == clientEnd && c.flags&flagTarpit != 0:
		w.hold(w.loop.Detach(slot), c.listener, acl.Tarpit)
	case end == clientEnd && c.flags&flagDrop != 0:
		w.hold(w.loop.Detach(slot), c.listener, acl.Drop)
	case c.flags&flagResetOut != 0:
		w.loop.Reset(slot)
	default:
		if end == clientEnd || c.flags&flagKeptAlive != 0 {
			rawsys.SetInt(w.loop.FD(slot), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
		}
		w.loop.Close(slot)
	}
}

// record counts a client that has ended, and writes its record. fd is the client's socket.
func (w *worker) record(c *conn, fd int) {
	if c.flags&flagTraced != 0 {
		w.note(c, c.endedStep())
	}
	w.connEnded(c, w.loop.Now())
	if !w.server.recording.Load() || c.outcome.Reason.Denied() && w.withhold(w.loop.Now()) {
		return
	}
	r := w.records.next()
	if r == nil {
		return // the recorder is behind; the loss is counted
	}
	*r = Record{
		Outcome:  c.outcome,
		Listener: c.listener,
		Pool:     cmp.Or(c.pool, c.listener.Pool),
		Client:   c.client,
		Backend:  c.backend,
		Rule:     c.rule,
		BytesIn:  c.flow[clientEnd].bytes,
		BytesOut: c.flow[backendEnd].bytes,
		Accepted: time.Duration(c.accepted),
		Duration: time.Duration(w.loop.Now() - c.accepted),
		Attempts: int(c.attempts),
		Failed:   c.failedBefore(),
	}
	if h := c.hello; h != nil {
		r.ViaProxy, r.Peer, r.ServerName, r.UniqueID = h.viaProxy, h.peer, h.hello.ServerName, h.uniqueID
	}
	if c.flags&flagShadow != 0 {
		r.Rule, r.Shadow = "", c.rule
	}
	if c.connected != 0 {
		r.Connect = time.Duration(c.connected - c.dialled)
	}
	if c.client.IsValid() {
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
