package proxy

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/balancer"
	"l4proxy/eventloop"
)

// A backend that does not answer in Pool.Hedge has a second one dialled beside it; the first to answer serves, and the
// other is closed before a byte went either way. The second dial has a conn of its own, without a client
// (stateHedging). If it wins, the client's socket moves there: nothing is in flight on it before a connection relays.

// HedgeBudget keeps second dials from adding more than a tenth to the load of a pool: each dial earns a tenth of one,
// and a burst may spend what was saved. The zero value is ready for use, and nil allows none. It is live: it outlives the
// configuration of its pool.
type HedgeBudget struct {
	spent atomic.Int64 // tenths of a dial, less what was earned; never below 0
}

const (
	hedgePrice = 10               // of one, in what a dial earns
	hedgeSaved = 100 * hedgePrice // the most that may be spent at once
)

func (h *HedgeBudget) earn() {
	if h == nil {
		return
	}
	for n := h.spent.Load(); n > 0; n = h.spent.Load() {
		if h.spent.CompareAndSwap(n, n-1) {
			return
		}
	}
}

// spend reports whether one more may be made.
func (h *HedgeBudget) spend() bool {
	if h == nil {
		return false
	}
	if h.spent.Add(hedgePrice) <= hedgeSaved {
		return true
	}
	h.refund()
	return false
}

// refund takes back one that was not made.
func (h *HedgeBudget) refund() { h.spent.Add(-hedgePrice) }

// rival is the conn that dials another backend for the same client.
func (c *conn) rival() *uint32 {
	if c.search == nil || c.search.rival == 0 {
		return nil
	}
	index := c.search.rival - 1
	return &index
}

// hedge dials another backend for a client whose first one has not answered yet.
func (w *worker) hedge(index uint32, c *conn) {
	pool, now := c.listener.Pool, w.loop.Now()
	if w.loop.Busy(slotOf(index, client)) || w.ending.Reason != ReasonNone {
		return // the client's watch has not ended, so it could not move; or all connections are being ended
	}
	if int(c.attempts) >= pool.Attempts || w.server.waiting.Load() > 0 || !pool.Hedges.spend() {
		return // it has had its dials, or descriptors are short
	}
	b, _ := pool.Balancer.Pick(balancer.Request{
		Now: now, Client: c.peer.Addr(), Tried: append(c.tried(), c.backend), Beside: c.backend,
	})
	if b == nil {
		pool.Hedges.refund()
		return
	}
	second, h := w.takeConn()
	*h = conn{state: stateHedging, listener: c.listener, backend: b, flags: flagCounted, dialled: now}
	if errno := w.startConnect(second, pool, b); errno != 0 { // the first dial goes on
		pool.Hedges.refund()
		w.uncount(h)
		w.freeConn(second, h)
		return
	}
	h.flags |= flagBackend
	h.searching().rival = index + 1
	c.searching().rival = second + 1
	c.countAttempt()
	w.watchDial(second, h)
}

// hedgeDone gives the client to the second backend if that has answered first.
func (w *worker) hedgeDone(second uint32, h *conn, done *eventloop.Completion) {
	index := *h.rival()
	c := w.conn(index)
	pool := c.listener.Pool
	if w.queueFull(h, done) {
		w.watchDial(second, h)
		return
	}
	if done.Err != 0 && !answered(done.Err) {
		c.search.noteFailed(h.backend, w.dialOver(h, done).Reason)
		c.search.rival = 0
		w.uncount(h)
		w.loop.StopTimer(second)
		w.freeConn(second, h)
		w.hedge(index, c)
		return
	}
	// Whoever is that much slower than another is left aside, as if it had timed out: the next clients need not wait
	// for it, and a probe finds out when it is well again.
	// A connect to a unix socket is never slow. If it waits, the queue is full (see queueFull), which is not a failure.
	if pool.Addrs[c.backend.Index].Family() != unix.AF_UNIX {
		pool.Balancer.TooSlow(c.backend, c.dialled, w.loop.Now())
	}
	c.search.noteFailed(c.backend, ReasonConnectTimeout)
	w.moveClient(index, c, second, h)
	w.withdraw(index, c)
	w.dialDone(second, h, done)
}

// moveClient gives the client of c to h, which is dialling another backend for it. c keeps its own dial.
func (w *worker) moveClient(index uint32, c *conn, second uint32, h *conn) {
	w.loop.StopTimer(index)
	fd := w.loop.Detach(slotOf(index, client))
	w.loop.Attach(slotOf(second, client), fd)
	const ofClient = flagClient | flagQueued
	h.state = stateDialling
	h.peer, h.accepted, h.lastActive, h.attempts, h.outcome = c.peer, c.accepted, c.lastActive, c.attempts, c.outcome
	h.flags |= c.flags & ofClient
	h.search = c.search
	h.search.rival = 0
	c.flags &^= ofClient
	c.search = nil
}

// rivalInherits leaves the client of c, whose dial has failed, to the second dial, which is under way.
func (w *worker) rivalInherits(index uint32, c *conn, o Outcome) {
	second := *c.rival()
	h := w.conn(second)
	c.outcome = o
	c.search.noteFailed(c.backend, o.Reason)
	w.uncount(c)
	w.moveClient(index, c, second, h)
	w.freeConn(index, c)
}

// withdrawRival gives up the second dial of a client that needs it no more.
func (w *worker) withdrawRival(c *conn) {
	rival := c.rival()
	if rival == nil {
		return
	}
	c.search.rival = 0
	h := w.conn(*rival)
	h.search = nil
	w.loop.StopTimer(*rival)
	w.withdraw(*rival, h)
}

// withdraw ends the dial of a conn that no longer has a client.
func (w *worker) withdraw(index uint32, c *conn) {
	c.state = stateWithdrawn
	w.giveUpDial(index)
}

// withdrawn is reached when a dial that has lost is over, one way or the other.
func (w *worker) withdrawn(index uint32, c *conn, done *eventloop.Completion) {
	if done.Err == 0 || answered(done.Err) {
		c.listener.Pool.Balancer.OK(c.backend, w.loop.Now()) // late, but well
	} else if _, peersFault := dialOutcome(done.Err); peersFault && done.Err != unix.ECANCELED {
		c.listener.Pool.Balancer.Failed(c.backend, c.dialled, w.loop.Now())
	}
	w.loop.Close(done.Slot)
	w.uncount(c)
	w.freeConn(index, c)
}
