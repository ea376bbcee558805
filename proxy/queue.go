package proxy

import (
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
)

// ticket is a client's place in its pool's queue.
type ticket struct {
	worker *worker
	index  uint32 // of the conn, which knows the ticket as long as it waits
	pool   *Pool
}

// granted tells a worker that a ticket's turn has come.
type granted struct {
	ticket  *ticket
	backend *backend.Backend
}

// Granted implements [balancer.Waiter].
func (t *ticket) Granted(b *backend.Backend) {
	if !t.worker.loop.Post(granted{t, b}) {
		t.pool.Balancer.Done(b, eventloop.Clock())
	}
}

// pick asks the balancer, and goes on with what it says.
func (w *worker) pick(index uint32, c *conn, r balancer.Request) {
	pool := c.listener.Pool
	if pool.QueueTimeout > 0 && c.outcome.Side != SideProxy { // see unserved
		// Only who waits keeps the ticket; the others leave it to the next client.
		if w.ticket == nil {
			w.ticket = new(ticket)
		}
		*w.ticket = ticket{worker: w, index: index, pool: pool}
		r.Waiter = w.ticket
		r.WaitForAny = c.listener.NoBackend == QueueClient
		r.Again = c.flags&flagQueued != 0
	}
	b, verdict := pool.Balancer.Pick(r)
	switch verdict {
	case balancer.Picked:
		w.connect(index, c, b)
	case balancer.Waiting:
		w.wait(index, c)
	case balancer.QueueFull:
		w.turnAwayUnserved(index, c, Outcome{SideProxy, ReasonQueueFull})
	case balancer.NoBackend:
		if c.outcome.Reason == ReasonNone {
			c.outcome = Outcome{SideProxy, ReasonNoBackend}
		}
		w.turnAwayUnserved(index, c, c.outcome)
	}
}

// wait is reached when the client is in the queue.
func (w *worker) wait(index uint32, c *conn) {
	s := c.searching()
	s.ticket, w.ticket = w.ticket, nil
	s.tried = nil // by the time that it has its turn, they may be well again
	w.boundWait(c)
	w.leaveWaiting(c)
	c.backend = nil
	c.state = stateQueued
	c.flags |= flagQueued
	w.watchClient(index, c)
	w.loop.SetTimer(index, s.waitUntil)
}

// boundWait sets when the client's wait ends, unless it has waited before.
func (w *worker) boundWait(c *conn) {
	if s := c.searching(); s.waitUntil == 0 {
		s.waitUntil = w.loop.Now() + int64(c.listener.Pool.QueueTimeout)
	}
}

// called is reached when it is a ticket's turn. A client that has left meanwhile gives the place back, and the next in
// the queue has it.
func (w *worker) called(t *ticket, b *backend.Backend) {
	c := w.conn(t.index)
	if c.state != stateQueued || c.search.ticket != t {
		t.pool.Balancer.Done(b, w.loop.Now())
		return
	}
	c.search.ticket = nil
	w.connect(t.index, c, b)
}

// queueExpired turns a client away that has waited for too long.
func (w *worker) queueExpired(index uint32, c *conn) {
	w.leaveQueue(c)
	w.turnAwayUnserved(index, c, Outcome{SideProxy, ReasonQueueTimeout})
}

// leaveQueue takes a client out of the queue. If it was called at this moment, the place is given back when the word of
// it arrives.
func (w *worker) leaveQueue(c *conn) {
	c.listener.Pool.Balancer.Leave(c.search.ticket)
	c.search.ticket = nil
}

// unserved is reached when all attempts of a client have failed: it waits, if that is wanted, or is turned away. What
// this machine lacks (a source port, a descriptor) says nothing about the backends, so there would be nothing to wait for.
func (w *worker) unserved(index uint32, c *conn) {
	pool := c.listener.Pool
	if c.listener.NoBackend != QueueClient || pool.QueueTimeout == 0 || c.outcome.Side != SideBackend {
		w.turnAwayUnserved(index, c, c.outcome)
		return
	}
	// A backend whose failed dials are not its fault (a unix socket that stays busy) may be picked again and again.
	if w.boundWait(c); w.loop.Now() >= c.search.waitUntil {
		w.turnAwayUnserved(index, c, Outcome{SideProxy, ReasonQueueTimeout})
		return
	}
	w.pick(index, c, balancer.Request{Now: w.loop.Now(), Client: c.peer.Addr(), OnlyAvailable: true})
}

// turnAwayUnserved ends a client that no backend serves, as the listener says.
func (w *worker) turnAwayUnserved(index uint32, c *conn, o Outcome) {
	var message []byte
	switch c.listener.NoBackend {
	case ResetClient:
		c.flags |= flagResetOut
		w.end(index, c, o)
		return
	case MessageClient:
		message = c.listener.NoBackendMessage
	}
	w.leaveWaiting(c)
	w.sayGoodbye(index, c, message, o)
}
