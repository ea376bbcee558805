package proxy

import (
	"math"

	"l4proxy/internal/rawsys"
)

// The steps between accept and dial. Each of them may end the client.

// arrive runs these steps on the loop that has accepted the client. A peer that must send a PROXY
// protocol header takes a slot first, because it holds a descriptor while the header is read; see
// hello.go.
func (w *worker) arrive(s *listenSocket, a arrival) {
	w.listenerCounters(a.listener).accepted.add(1)
	if traces := w.server.tracer.set.Load(); traces != nil {
		w.followArrival(&a, traces)
	}
	a.header = a.listener.ProxyFrom.Has(a.client.Addr())
	if !a.header {
		if a.traced != nil && a.listener.ACL != nil {
			w.noteArrival(&a, aclStep(a.listener, a.client.Addr()))
		}
		v := w.judge(a.listener, a.client.Addr())
		if v.denied {
			w.deny(a, v.action, v.reason, v.rule)
			return
		}
		a.limited, a.shadow = v.limited, v.shadow
	}
	if s.refuses() {
		w.refuse(a, nil, Outcome{Side: SideProxy, Reason: ReasonDrained}, "")
		return
	}
	if len(s.parked) > 0 || !w.server.slots.take(a.listener.Slots) {
		s.park(a)
		if a.traced != nil {
			w.noteArrival(&a, Step{Kind: StepParked})
		}
		return
	}
	w.place(a)
}

// refuse turns away a client that has not taken a slot.
func (w *worker) refuse(a arrival, message []byte, o Outcome, rule string) {
	if w.ending.Reason != ReasonNone { // it must not linger: the server waits for its end
		w.endArrival(a, w.ending, "")
		return
	}
	w.load.Add(1)
	c := w.newConn(a)
	c.rule = rule
	w.turnAway(c, message, o)
}

// endArrival records and closes a client that never became a connection. It holds no slot.
func (w *worker) endArrival(a arrival, o Outcome, rule string) {
	w.recordArrival(a, o, rule)
	rawsys.Close(a.fd)
}

// recordArrival is endArrival without the close.
func (w *worker) recordArrival(a arrival, o Outcome, rule string) {
	a.unlimit()
	c := w.neverServed(a, o, rule)
	if a.traced != nil {
		w.noteArrival(&a, c.endedStep())
	}
	w.record(c, a.fd)
}

// neverServed is an arrival in the form of a connection, for its record.
func (w *worker) neverServed(a arrival, o Outcome, rule string) *conn {
	c := &conn{
		listener: a.listener, counts: w.listenerCounters(a.listener), client: a.client, accepted: a.at, outcome: o, rule: rule,
	}
	if rule == "" {
		c.noteShadow(a.shadow)
	}
	return c
}

// place passes a client that has a slot to the loop with the most room: this one, or another.
func (w *worker) place(a arrival) {
	if a.traced != nil {
		w.noteArrival(&a, Step{Kind: StepSlot})
	}
	if other := w.server.roomier(w); other != nil {
		if a.traced != nil {
			w.noteArrival(&a, Step{Kind: StepMovedLoop, Loop: other.number})
		}
		other.load.Add(1)
		if other.loop.Post(a) {
			return
		}
		other.load.Add(-1)
	}
	w.load.Add(1)
	w.admit(a)
}

// admit makes a connection from a client that has a slot and is counted in this worker's load.
func (w *worker) admit(a arrival) {
	c := w.newConn(a)
	c.flags |= flagSlot
	if w.ending.Reason != ReasonNone {
		w.end(c, w.ending)
		return
	}
	if a.header || c.listener.readsFirst() {
		w.startHello(c, a.header)
		return
	}
	w.serve(c)
}

// serve routes a client whose first bytes, if they matter, have been read, and starts to look for a
// backend.
func (w *worker) serve(c *conn) {
	if c.pool = c.listener.route(c.hello.heard()); c.pool == nil {
		w.noRoute(c)
		return
	}
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepRouted, Pool: c.pool})
	}
	if c.pool.FirstByte > 0 && w.look == nil { // a client of an older State
		w.startLooks()
	}
	w.dial(c)
}

// newConn makes a connection from an accepted client. The caller sets its state.
func (w *worker) newConn(a arrival) *conn {
	c := w.conn(w.takeIndex())
	c.listener, c.client, c.accepted, c.lastActive = a.listener, a.client, a.at, a.at
	c.counts = w.listenerCounters(a.listener)
	c.flags = flagClient
	c.noteShadow(a.shadow)
	if a.limited {
		c.flags |= flagLimited
	}
	if a.traced != nil {
		w.followConn(c, a.traced)
	}
	w.loop.Attach(c.slot(clientEnd), a.fd)
	if !a.client.IsValid() { // a unix socket inherits nothing from its listening socket
		keepUrgentInLine(a.fd)
	}
	return c
}

// roomier returns a worker that has clearly fewer connections than w, or nil. SO_REUSEPORT
// distributes clients by a hash of the addresses, which is uneven for a few long connections.
func (s *Server) roomier(w *worker) *worker {
	var emptiest *worker
	least := int64(math.MaxInt64)
	for _, other := range s.workers {
		if n := other.load.Load(); n < least {
			emptiest, least = other, n
		}
	}
	if emptiest == w || w.load.Load() < least+2+least/2 {
		return nil
	}
	return emptiest
}

// giveSlot releases a connection's slot.
func (w *worker) giveSlot(c *conn) {
	c.flags &^= flagSlot
	w.server.slots.give(c.listener.Slots)
	w.freed = true
}

// slotsFreed uses the slots that were released on this loop, and wakes the other loops where
// clients wait.
func (w *worker) slotsFreed() {
	w.freed = false
	w.useFreeSlots()
	if w.server.slots.all.Full() {
		return
	}
	for _, other := range w.server.workers {
		if other != w && other.wanting.Load() && other.wanting.Swap(false) {
			other.loop.Post(roomElsewhere{})
		}
	}
}

// useFreeSlots admits parked clients, then accepts new ones, while slots are free.
func (w *worker) useFreeSlots() {
	if !w.crowded {
		// Scanning thousands of sockets whenever a connection ends would cost more than the
		// connection.
		return
	}
	wanting := false
	for _, s := range w.sockets {
		s.unpark()
		if s.state == listenFull && s.room() > 0 {
			s.accept()
		}
		wanting = wanting || s.state == listenFull || len(s.parked) > 0
	}
	w.crowded = wanting
	w.wanting.Store(wanting)
}
