package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
)

// resourceRetry is the pause before a dial that lacked a descriptor or memory is retried.
const resourceRetry = 100 * time.Millisecond

// busyRetry is the pause between attempts to dial a unix socket whose queue is full.
const busyRetry = 5 * time.Millisecond

// dial picks a backend that this client has not tried yet and starts to connect to it. Bytes that
// the client sends meanwhile stay in its socket.
func (w *worker) dial(c *conn) {
	w.pick(c, balancer.Request{Now: w.loop.Now(), Client: c.client.Addr(), Tried: c.tried()})
}

// pick asks the balancer for a backend. The client is then connected to it, waits for one, or is
// turned away.
func (w *worker) pick(c *conn, r balancer.Request) {
	pool := c.pool
	if c.outcome.Side != SideProxy && c.listener.mayWait(pool, &r) { // see unserved
		// A client that waits keeps the ticket. Otherwise the next client uses it.
		if w.ticket == nil {
			w.ticket = new(ticket)
		}
		*w.ticket = ticket{worker: w, conn: c, pool: pool, turn: w.server.turns.Add(1)}
		r.Waiter = w.ticket
		r.Again = c.flags&flagQueued != 0
	}
	b, verdict := pool.Balancer.Pick(r)
	switch verdict {
	case balancer.Picked:
		w.connect(c, b)
	case balancer.Waiting:
		w.wait(c)
	case balancer.QueueFull:
		w.poolCounters(pool).rejected.add(1)
		w.turnAwayUnserved(c, Outcome{Side: SideProxy, Reason: ReasonQueueFull})
	case balancer.NoBackend:
		if c.outcome.Reason == ReasonNone {
			c.outcome = Outcome{Side: SideProxy, Reason: ReasonNoBackend}
		}
		w.turnAwayUnserved(c, c.outcome)
	}
}

// connect starts to connect to the backend that was picked.
func (w *worker) connect(c *conn, b *backend.Backend) {
	pool, now := c.pool, w.loop.Now()
	c.backend, c.flags = b, c.flags|flagCounted
	if c.search != nil {
		c.search.sources = 0
	}
	d := c.dialler()
	errno := w.startConnect(c.slot(backendEnd), pool, b, &d)
	c.triedSources(&d)
	switch {
	case errno == 0:
	case errno == unix.EMFILE, errno == unix.ENFILE, errno == unix.ENOBUFS, errno == unix.ENOMEM:
		w.waitForResources(c)
		return
	case d.local:
		c.dialled = now
		c.countAttempt()
		o, _ := dialOutcome(errno)
		w.countFailed(pool, b, o.Reason)
		w.dialFailed(c, o)
		return
	// This machine has no IPv6 (EAFNOSUPPORT), or a security profile forbids the call: no client
	// will reach this backend from here.
	default:
		c.dialled = now
		c.countAttempt()
		w.countFailed(pool, b, ReasonConnectUnreachable)
		b.NoteDialError(errno)
		pool.Balancer.Failed(b, now, now)
		w.dialFailed(c, Outcome{SideBackend, ReasonConnectUnreachable, errno})
		return
	}
	w.leaveRetrying(c)
	w.unwatchClient(c)
	c.state = stateDialling
	c.flags |= flagBackend
	c.dialled = now
	if c.countAttempt(); c.attempts > 1 {
		w.poolCounters(pool).retries.add(1)
	}
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepDial, b, 0, Outcome{})
	}
	pool.Hedges.earn()
	if pool.Hedge > 0 && int(c.attempts) < pool.Attempts && !c.asksForTLS() {
		c.flags |= flagMayHedge
	}
	w.watchDial(c)
}

// watchDial sets the timer of a dial to what is due next: a second dial, another attempt at a full
// queue, or the end of the dial.
func (w *worker) watchDial(c *conn) {
	due := w.dialDue(c.slot(backendEnd), c.pool, c.dialled)
	if c.flags&flagMayHedge != 0 {
		due = min(due, c.dialled+int64(c.pool.Hedge))
	}
	w.loop.SetTimer(c.index, due)
}

// dialDue is when a dial times out, or when the next attempt at a full queue is due.
func (w *worker) dialDue(slot eventloop.Slot, pool *Pool, dialled int64) int64 {
	due := dialled + int64(pool.ConnectTimeout)
	if !w.loop.Busy(slot) {
		due = min(due, w.loop.Now()+int64(busyRetry))
	}
	return due
}

// dialExpired does what is due: it dials a second backend, retries a full queue, or ends a dial
// that took too long. In the last case, the completion of the connect continues from there.
func (w *worker) dialExpired(c *conn) {
	now, pool, slot := w.loop.Now(), c.pool, c.slot(backendEnd)
	if c.flags&flagMayHedge != 0 && now >= c.dialled+int64(pool.Hedge) {
		c.flags &^= flagMayHedge
		w.startHedge(c)
	}
	if now >= c.dialled+int64(pool.ConnectTimeout) {
		w.giveUpConnect(slot)
		return
	}
	if !w.loop.Busy(slot) {
		w.loop.Connect(slot, c.backend.Sockaddr)
	}
	w.watchDial(c)
}

// giveUpConnect ends a dial that has not been answered. The completion of the connect continues
// from there. A dial that waits for room in a queue has no operation in flight, so it completes
// here.
func (w *worker) giveUpConnect(slot eventloop.Slot) {
	if w.loop.Busy(slot) {
		w.loop.CancelWrite(slot)
		w.loop.CancelRead(slot) // see starttls.go
		return
	}
	w.Complete(&eventloop.Completion{Slot: slot, Op: eventloop.OpConnect, Err: unix.EBUSY})
}

// queueFull reports whether a dial has found the queue of a unix socket full (unix(7), EAGAIN) and
// may retry. The kernel has no event for room in that queue. A full queue is not a failure: the
// backend just has clients that it has not accepted yet.
func (w *worker) queueFull(pool *Pool, b *backend.Backend, dialled int64, done *eventloop.Completion) bool {
	return done.Err == unix.EAGAIN && b.Health() != backend.HealthDown &&
		w.loop.Now() < dialled+int64(pool.ConnectTimeout)
}

// dialDone continues with relaying, or with the next backend.
func (w *worker) dialDone(c *conn, done *eventloop.Completion) {
	h := c.hedge()
	switch {
	case done.Op == eventloop.OpRecv:
		w.startTLSDone(c, done)
	case done.Err == 0 && c.asksForTLS():
		w.startTLS(c)
	case h != nil && h.won:
		if done.Err == unix.ECANCELED { // it was the slower one, and counts as in the log
			w.countFailed(c.pool, c.backend, ReasonConnectTimeout)
		}
		w.dialLost(c.pool, c.backend, c.dialled, done)
		c.flags &^= flagBackend | flagMayHedge
		w.uncount(c)
		h.takeOver()
	case done.Err == 0 || answered(done.Err):
		w.dialOK(c.pool, c.backend, c.dialled)
		w.withdrawHedge(c)
		w.connected(c, done.Err)
	case w.queueFull(c.pool, c.backend, c.dialled, done):
		w.watchDial(c)
	case done.Err == unix.EADDRNOTAVAIL && w.redial(c, done):
	default:
		o := w.dialOver(c.pool, c.backend, c.dialled, done)
		c.flags &^= flagBackend | flagMayHedge
		if h == nil {
			w.dialFailed(c, o)
			return
		}
		// The second dial continues, alone.
		if c.flags&flagTraced != 0 {
			w.dialStep(c, StepDialFailed, c.backend, c.dialled, o)
		}
		c.outcome = o
		c.search.noteFailed(c.backend, o.Reason)
		w.uncount(c)
		w.loop.StopTimer(c.index)
	}
}

// redial repeats a dial from another source address, if there is one.
func (w *worker) redial(c *conn, done *eventloop.Completion) bool {
	d := c.dialler()
	again := w.anotherSource(c.pool, c.backend, &d, done)
	c.triedSources(&d)
	return again
}

// answered reports whether a connect that failed was answered nevertheless: the handshake was
// completed (a refusal is ECONNREFUSED), and the backend has reset the connection since then. It
// may have sent bytes before the reset.
func answered(errno unix.Errno) bool { return errno == unix.ECONNRESET || errno == unix.EPIPE }

// connected starts relaying after a backend has answered. errno is not 0 if the backend has reset
// the connection since then.
func (w *worker) connected(c *conn, errno unix.Errno) {
	if c.hello == nil && c.pool.SendProxy == nil {
		w.relay(c, nil)
		if errno != 0 {
			w.broken(c, backendEnd, errno)
		}
		return
	}
	g := w.greet(c, errno)
	if g.failed[clientEnd] != 0 {
		c.flow[clientEnd].ended = flowReset
	}
	w.relay(c, g.rest)
	for _, e := range [...]int{backendEnd, clientEnd} {
		if errno := g.failed[e]; errno != 0 {
			w.broken(c, e, errno)
		}
	}
	w.endIfOver(c)
}

// dialOK counts an answered dial, and reports it to the balancer.
func (w *worker) dialOK(pool *Pool, b *backend.Backend, dialled int64) {
	counts, now := w.poolCounters(pool), w.loop.Now()
	counts.dials[ReasonNone].add(1)
	counts.dialTimes.Observe(dialBounds, time.Duration(now-dialled))
	pool.Balancer.OK(b, now)
}

// dialOver closes the socket of a dial that has failed. It reports the failure to the balancer if
// the backend caused it.
func (w *worker) dialOver(pool *Pool, b *backend.Backend, dialled int64, done *eventloop.Completion) Outcome {
	outcome, peersFault := dialOutcome(done.Err)
	w.countFailed(pool, b, outcome.Reason)
	if peersFault {
		b.NoteDialError(done.Err)
		pool.Balancer.Failed(b, dialled, w.loop.Now())
	}
	w.loop.Close(done.Slot)
	return outcome
}

// dialLost closes the socket of a dial that is no longer needed. Its result still says something
// about the backend, unless the dial was cancelled before.
func (w *worker) dialLost(pool *Pool, b *backend.Backend, dialled int64, done *eventloop.Completion) {
	switch {
	case done.Err == unix.ECANCELED:
		w.loop.Close(done.Slot)
	case done.Err == 0 || answered(done.Err):
		w.dialOK(pool, b, dialled)
		w.loop.Close(done.Slot)
	default:
		w.dialOver(pool, b, dialled, done)
	}
}

// dialFailed continues with the next backend, unless the pool's attempts are used up.
func (w *worker) dialFailed(c *conn, o Outcome) {
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepDialFailed, c.backend, c.dialled, o)
	}
	c.outcome = o
	w.uncount(c)
	s := c.searching()
	if s.noteFailed(c.backend, o.Reason); len(s.tried) >= c.pool.Attempts {
		w.unserved(c)
		return
	}
	w.dial(c)
}

// dialOutcome returns what an error of connect(2) means, and whether it is the backend's fault.
func dialOutcome(errno unix.Errno) (o Outcome, peersFault bool) {
	switch errno {
	case unix.ECONNREFUSED,
		unix.ENOENT, unix.EACCES, unix.EPROTOTYPE, unix.ELOOP, unix.ENOTDIR: // unix sockets
		return Outcome{SideBackend, ReasonConnectRefused, errno}, true
	case unix.ETIMEDOUT, unix.ECANCELED: // cancelled by the timer
		return Outcome{SideBackend, ReasonConnectTimeout, errno}, true
	case unix.EAGAIN, unix.EBUSY: // its queue stayed full; see queueFull
		return Outcome{SideBackend, ReasonConnectTimeout, errno}, false
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return Outcome{SideBackend, ReasonConnectUnreachable, errno}, true
	case unix.EADDRNOTAVAIL, unix.EADDRINUSE:
		return Outcome{SideProxy, ReasonLocalPorts, errno}, false
	case errNoSource:
		return Outcome{SideProxy, ReasonNoSource, errno}, false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return Outcome{SideProxy, ReasonLocalResources, errno}, false
	}
	// EPERM from a local firewall, and errors without a reason of their own.
	return Outcome{SideProxy, ReasonError, errno}, false
}

// waitForResources retries the dial shortly, for ConnectTimeout at most: descriptors are freed as
// connections end.
func (w *worker) waitForResources(c *conn) {
	w.uncount(c)
	c.backend = nil
	now := w.loop.Now()
	if c.state != stateRetrying {
		c.state = stateRetrying
		// Not c.accepted: the client may have been parked for long, or may have tried another
		// backend.
		c.lastActive = now
		w.server.retrying.Add(1)
		w.endHeld()
		w.server.dialShort(c.listener)
		w.poolCounters(c.pool).pauses.add(1)
		if c.flags&flagTraced != 0 {
			w.note(c, Step{Kind: StepShort})
		}
		w.watchClient(c)
	} else if w.loop.Looked()-c.lastActive > int64(c.pool.ConnectTimeout) {
		// At once, without a message: its own descriptor is needed too.
		w.end(c, Outcome{Side: SideProxy, Reason: ReasonLocalResources})
		return
	}
	w.loop.SetTimer(c.index, now+int64(resourceRetry))
}

func (w *worker) leaveRetrying(c *conn) {
	if c.state == stateRetrying {
		w.server.retrying.Add(-1)
	}
}

// uncount removes the connection from its backend's count.
func (w *worker) uncount(c *conn) {
	if c.flags&flagCounted != 0 {
		c.flags &^= flagCounted
		c.pool.Balancer.Done(c.backend, w.loop.Now())
	}
}
