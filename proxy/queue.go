package proxy

import (
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
)

// ticket is a client's position in its pool's queue.
type ticket struct {
	worker *worker
	conn   *conn // refers back to the ticket while it waits
	pool   *Pool
	// turn orders the clients of all loops that wait, for a hand-over. It is taken before the
	// client enters the queue, so a client that comes when another is seen to wait has a later one.
	turn uint64
}

// granted is the message that a ticket's turn has come.
type granted struct {
	ticket  *ticket
	backend *backend.Backend
}

// mayWait reports whether a client may wait in the pool's queue, and sets in its request for what.
func (l *Listener) mayWait(pool *Pool, r *balancer.Request) bool {
	r.WaitForAny = pool.QueueTimeout > 0 && l.NoBackend == QueueClient
	return pool.QueueTimeout > 0
}

// Granted implements [balancer.Waiter].
func (t *ticket) Granted(b *backend.Backend) {
	if !t.worker.loop.Post(granted{t, b}) {
		t.pool.Balancer.Done(b, rawsys.Monotonic())
	}
}

// wait is called when the balancer has put the client in the queue.
func (w *worker) wait(c *conn) {
	s := c.searching()
	s.ticket, w.ticket = w.ticket, nil
	s.tried = nil // when the client's turn comes, they may have recovered
	w.boundWait(c)
	if s.turn == 0 {
		s.turn = s.ticket.turn
	}
	w.leaveRetrying(c)
	c.backend = nil
	c.state = stateQueued
	c.flags |= flagQueued
	if s.waiting == 0 { // else it waits on, after a hand-over
		s.waiting = w.loop.Now()
		w.poolCounters(c.pool).queued.add(1)
	}
	w.watchClient(c)
	w.loop.SetTimer(c.index, s.waitUntil)
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepQueued, Pool: c.pool})
	}
}

// boundWait sets when the client's wait ends, unless it has waited before.
func (w *worker) boundWait(c *conn) {
	if s := c.searching(); s.waitUntil == 0 {
		s.waitUntil = w.loop.Now() + int64(c.pool.QueueTimeout)
	}
}

// granted handles a ticket whose turn has come. If its client has left meanwhile, the slot on the
// backend is released, and the next client in the queue gets it.
func (w *worker) granted(g granted) {
	c := g.ticket.conn
	if c.state != stateQueued || c.search.ticket != g.ticket {
		g.ticket.pool.Balancer.Done(g.backend, w.loop.Now())
		return
	}
	c.search.ticket = nil
	w.poolCounters(c.pool).waits.Observe(waitBounds, time.Duration(w.loop.Now()-c.search.waiting))
	c.search.waiting = 0
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepGranted, Pool: c.pool, Backend: g.backend})
	}
	w.connect(c, g.backend)
}

// queueExpired turns away a client that has waited too long.
func (w *worker) queueExpired(c *conn) {
	w.leaveQueue(c)
	w.queueTimedOut(c)
}

func (w *worker) queueTimedOut(c *conn) {
	w.poolCounters(c.pool).queueTimeouts.add(1)
	w.turnAwayUnserved(c, Outcome{Side: SideProxy, Reason: ReasonQueueTimeout})
}

// leaveQueue removes a client from the queue. If its turn has just come, worker.granted releases
// the slot on the backend when the message arrives.
func (w *worker) leaveQueue(c *conn) {
	c.pool.Balancer.Leave(c.search.ticket)
	c.search.ticket = nil
}

// unserved is called when all attempts of a client have failed. The client waits if its listener is
// configured so, otherwise it is turned away. If this machine lacks something (a source port, a
// descriptor), that says nothing about the backends, so there is nothing to wait for.
func (w *worker) unserved(c *conn) {
	pool := c.pool
	if c.listener.NoBackend != QueueClient || pool.QueueTimeout == 0 || c.outcome.Side != SideBackend {
		w.turnAwayUnserved(c, c.outcome)
		return
	}
	// A backend whose failed dials are not its fault (a unix socket that stays busy) may be picked
	// again and again.
	if w.boundWait(c); w.loop.Now() >= c.search.waitUntil {
		w.queueTimedOut(c)
		return
	}
	w.pick(c, balancer.Request{Now: w.loop.Now(), Client: c.client.Addr(), OnlyAvailable: true})
}

// turnAwayUnserved ends a client that no backend serves, in the way that the listener configures.
func (w *worker) turnAwayUnserved(c *conn, o Outcome) {
	var message []byte
	switch c.listener.NoBackend {
	case ResetClient:
		c.flags |= flagResetOut
		w.end(c, o)
		return
	case MessageClient:
		message = c.listener.NoBackendMessage
	}
	w.leaveRetrying(c)
	w.turnAway(c, message, o)
}
