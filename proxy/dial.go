package proxy

import (
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

// resourceRetry is the pause before a dial that lacked a descriptor or memory is tried again.
const resourceRetry = 100 * time.Millisecond

// busyRetry is the pause between attempts to dial a unix socket whose queue is full.
const busyRetry = 5 * time.Millisecond

// search is what a connection has to remember while it looks for a backend. Most are served by the first one, and have
// none.
type search struct {
	tried  []*backend.Backend // those that failed for this client
	failed []FailedDial       // the same for the log, including those before a wait in the queue
	rival  uint32             // the conn that dials another backend for the same client, and 1; 0 without; see hedge.go
	ticket *ticket            // stateQueued; see queue.go
	// waitUntil is when waiting for a place ends, once it has begun.
	waitUntil int64
}

// tried are the backends that failed for this client.
func (c *conn) tried() []*backend.Backend {
	if c.search == nil {
		return nil
	}
	return c.search.tried
}

// maxFailedKept bounds the failed dials that the log names, the latest ones: a client that waits in the queue for
// hours may have many.
const maxFailedKept = 16

// noteFailed notes that a dial for the client has failed.
func (s *search) noteFailed(b *backend.Backend, reason Reason) {
	s.tried = append(s.tried, b)
	if len(s.failed) > maxFailedKept { // one more than the log names: it may leave out the last
		s.failed = slices.Delete(s.failed, 0, 1)
	}
	s.failed = append(s.failed, FailedDial{b, reason})
}

// searchOver forgets the search, except for what the log needs.
func (c *conn) searchOver() {
	if c.search == nil || len(c.search.failed) == 0 {
		c.search = nil
		return
	}
	*c.search = search{failed: c.search.failed}
}

// failedBefore returns the dials that failed before the last one. The last is in the connection's backend and outcome.
func (c *conn) failedBefore() []FailedDial {
	if c.search == nil {
		return nil
	}
	failed := c.search.failed
	if n := len(failed); n > 0 && c.connected == 0 && failed[n-1] == (FailedDial{c.backend, c.outcome.Reason}) {
		failed = failed[:n-1]
	}
	return failed[max(0, len(failed)-maxFailedKept):]
}

// countAttempt counts a dial. One who waits in a queue for hours may have more than can be counted.
func (c *conn) countAttempt() {
	if c.attempts < math.MaxUint8 {
		c.attempts++
	}
}

// searching returns what is remembered of the search, from now on.
func (c *conn) searching() *search {
	if c.search == nil {
		c.search = new(search)
	}
	return c.search
}

// dial picks a backend that this client has not tried yet and starts to connect to it. What the client sends meanwhile
// waits in its socket.
func (w *worker) dial(index uint32, c *conn) {
	request := balancer.Request{Now: w.loop.Now(), Client: c.peer.Addr(), Tried: c.tried()}
	w.pick(index, c, request)
}

// connect starts to connect to the backend that was picked.
func (w *worker) connect(index uint32, c *conn, b *backend.Backend) {
	pool, now := c.listener.Pool, w.loop.Now()
	c.backend, c.flags = b, c.flags|flagCounted
	switch w.startConnect(index, pool, b) {
	case 0:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		w.waitForResources(index, c)
		return
	default: // a machine without IPv6 (EAFNOSUPPORT), a security profile: no client will reach this backend from here
		c.countAttempt()
		pool.Balancer.Failed(b, now, now)
		w.dialFailed(index, c, Outcome{SideBackend, ReasonConnectUnreachable})
		return
	}
	w.leaveWaiting(c)
	w.unwatchClient(index)
	c.state = stateDialling
	c.flags |= flagBackend
	c.dialled = now
	c.countAttempt()
	pool.Hedges.earn()
	if pool.Hedge > 0 && int(c.attempts) < pool.Attempts {
		c.flags |= flagMayHedge
	}
	w.watchDial(index, c)
}

// watchDial sets the timer of a dial for what comes next: a second dial, another attempt at a full queue, or its end.
func (w *worker) watchDial(index uint32, c *conn) {
	pool := c.listener.Pool
	due := c.dialled + int64(pool.ConnectTimeout)
	if c.flags&flagMayHedge != 0 {
		due = min(due, c.dialled+int64(pool.Hedge))
	}
	if !w.loop.Busy(slotOf(index, server)) {
		due = min(due, w.loop.Now()+int64(busyRetry))
	}
	w.loop.SetTimer(index, due)
}

// startConnect opens a socket in the server slot of index and starts to connect it.
func (w *worker) startConnect(index uint32, pool *Pool, b *backend.Backend) unix.Errno {
	addr := pool.Addrs[b.Index]
	fd, errno := rawsys.Socket(addr.Family(), unix.SOCK_STREAM|w.loop.SocketFlags(), 0)
	if errno != 0 {
		return errno
	}
	if addr.Family() != unix.AF_UNIX {
		rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	keepUrgentInLine(fd)
	slot := slotOf(index, server)
	w.loop.Attach(slot, fd)
	w.loop.Connect(slot, addr)
	return 0
}

// waitForResources tries again shortly, for as long as a dial may take: descriptors come back as connections end.
func (w *worker) waitForResources(index uint32, c *conn) {
	w.uncount(c)
	c.backend = nil
	now := w.loop.Now()
	if c.state != stateWaiting {
		c.state = stateWaiting
		c.lastActive = now // not c.accepted: it may have been parked for long, or dialled another backend
		w.server.waiting.Add(1)
		w.server.dialShort(c.listener)
		w.watchClient(index, c)
	} else if w.loop.Looked()-c.lastActive > int64(c.listener.Pool.ConnectTimeout) {
		w.end(index, c, Outcome{SideProxy, ReasonLocalResources}) // at once, as its own descriptor is needed too
		return
	}
	w.loop.SetTimer(index, now+int64(resourceRetry))
}

func (w *worker) leaveWaiting(c *conn) {
	if c.state == stateWaiting {
		w.server.waiting.Add(-1)
	}
}

// dialExpired dials a second backend beside the first when that is due, retries a full queue, or ends a dial that took
// too long; the completion of the connect continues from there.
func (w *worker) dialExpired(index uint32, c *conn) {
	now, pool := w.loop.Now(), c.listener.Pool
	if c.flags&flagMayHedge != 0 && now >= c.dialled+int64(pool.Hedge) {
		c.flags &^= flagMayHedge
		w.hedge(index, c)
	}
	if now >= c.dialled+int64(pool.ConnectTimeout) {
		w.giveUpDial(index)
		return
	}
	if slot := slotOf(index, server); !w.loop.Busy(slot) {
		w.loop.Connect(slot, pool.Addrs[c.backend.Index])
	}
	w.watchDial(index, c)
}

// giveUpDial ends a dial that has not been answered; its completion continues from there. A dial that waits for room in a
// queue has no operation in flight, so it completes here.
func (w *worker) giveUpDial(index uint32) {
	slot := slotOf(index, server)
	if w.loop.Busy(slot) {
		w.loop.CancelWrite(slot)
		return
	}
	w.Complete(&eventloop.Completion{Slot: slot, Op: eventloop.OpConnect, Err: unix.EBUSY})
}

// queueFull reports whether a dial has found the queue of a unix socket full (unix(7), EAGAIN) and may retry. The kernel
// has no event for room in the queue. The backend is well: it only has clients that it has not accepted yet.
func (w *worker) queueFull(c *conn, done *eventloop.Completion) bool {
	return done.Err == unix.EAGAIN && c.backend.Health() != backend.HealthDown &&
		w.loop.Now() < c.dialled+int64(c.listener.Pool.ConnectTimeout)
}

// dialDone goes on to relaying, or to the next backend.
func (w *worker) dialDone(index uint32, c *conn, done *eventloop.Completion) {
	b := c.listener.Pool.Balancer
	switch {
	case done.Err == 0:
		b.OK(c.backend, w.loop.Now())
		w.withdrawRival(c)
		w.relay(index, c)
	case answered(done.Err):
		b.OK(c.backend, w.loop.Now())
		w.withdrawRival(c)
		w.relay(index, c)
		w.broken(index, c, server, done.Err)
	case w.queueFull(c, done):
		w.watchDial(index, c)
	default:
		o := w.dialOver(c, done)
		if c.rival() != nil {
			w.rivalInherits(index, c, o)
			return
		}
		w.dialFailed(index, c, o)
	}
}

// answered reports whether a failed connect was answered all the same: the handshake was completed (a refusal is
// ECONNREFUSED), and the backend has reset the connection since then. It may have said something before.
func answered(errno unix.Errno) bool { return errno == unix.ECONNRESET || errno == unix.EPIPE }

// dialOver closes the socket of a dial that has failed, and says so to the balancer.
func (w *worker) dialOver(c *conn, done *eventloop.Completion) Outcome {
	outcome, peersFault := dialOutcome(done.Err)
	if peersFault {
		c.listener.Pool.Balancer.Failed(c.backend, c.dialled, w.loop.Now())
	}
	w.loop.Close(done.Slot)
	c.flags &^= flagBackend | flagMayHedge
	return outcome
}

// dialFailed goes on to the next backend, if there may be one.
func (w *worker) dialFailed(index uint32, c *conn, o Outcome) {
	c.outcome = o
	w.uncount(c)
	s := c.searching()
	if s.noteFailed(c.backend, o.Reason); len(s.tried) >= c.listener.Pool.Attempts {
		w.unserved(index, c)
		return
	}
	w.dial(index, c)
}

// dialOutcome says what an error of connect(2) means, and whether it says anything about the backend.
func dialOutcome(errno unix.Errno) (o Outcome, peersFault bool) {
	switch errno {
	case unix.ECONNREFUSED,
		unix.ENOENT, unix.EACCES, unix.EPROTOTYPE, unix.ELOOP, unix.ENOTDIR: // unix sockets
		return Outcome{SideBackend, ReasonConnectRefused}, true
	case unix.ETIMEDOUT, unix.ECANCELED: // cancelled by the timer
		return Outcome{SideBackend, ReasonConnectTimeout}, true
	case unix.EAGAIN, unix.EBUSY: // its queue stayed full; see queueFull
		return Outcome{SideBackend, ReasonConnectTimeout}, false
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN:
		return Outcome{SideBackend, ReasonConnectUnreachable}, true
	case unix.EADDRNOTAVAIL, unix.EADDRINUSE:
		return Outcome{SideProxy, ReasonLocalPorts}, false
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return Outcome{SideProxy, ReasonLocalResources}, false
	}
	return Outcome{SideProxy, ReasonError}, false // EPERM of a local firewall, and what we have not thought of
}

// uncount takes the connection off its backend.
func (w *worker) uncount(c *conn) {
	if c.flags&flagCounted != 0 {
		c.flags &^= flagCounted
		c.listener.Pool.Balancer.Done(c.backend, w.loop.Now())
	}
}
