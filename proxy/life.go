package proxy

import (
	"l4proxy/eventloop"
)

// The life of a connection, in the order of time.
//
//	step        what happens                                                   file
//	accept      the loop delivers the descriptor of a new client               accept.go
//	bans        a client whose address is banned is ended                      bans.go
//	ACL         the access control list decides about the client's address     admit.go
//	limits      a slot is taken; if no slot is free, the client is parked      admit.go, slots.go
//	place       the loop with the most room takes the client                   admit.go
//	hello       bytes that decide about the client are read (stateHello)       hello.go
//	route       the pool is chosen                                             route.go
//
// The address of a client whose peer must send a PROXY protocol header is known only after the
// header was read, so the ACL decides then.
//
//	state       what happens                                                   file
//	hello       a PROXY protocol header or a ClientHello is being read         hello.go
//	turnedAway  a message, if any, and a FIN are sent; input is discarded      turnaway.go
//	dialling    a backend is being connected; if that fails, the next one      dial.go, hedge.go
//	queued      no backend has a free slot, or none can serve: client waits    queue.go
//	retrying    a dial lacked a descriptor: it is retried shortly              dial.go
//	relaying    bytes go both ways until both streams have ended               relay.go
//	leaving     it is being taken out of the loop, to move to another process  leave.go
//	moving      its sockets are on their way to the other process              handover.go
//	closing     the outcome is known; operations in flight are cancelled       close.go
//	flushing    bytes already sent get a moment to arrive before a reset       close.go
//
// Every path sets one Outcome and ends in worker.finish, which writes the record, closes the
// sockets and releases everything. A client that never becomes a connection ends in
// worker.endArrival. While a client waits (queued, retrying), and while a connection is
// half-closed, watch.go notices that a peer has gone.
type connState uint8

const (
	stateNone connState = iota // no connection: the index is free, or belongs to a task
	stateHello
	stateTurnedAway
	stateDialling
	stateQueued
	stateRetrying
	stateRelaying
	stateLeaving
	stateMoving
	stateClosing
	stateFlushing
)

// Complete implements [eventloop.Handler]: an operation has ended.
func (w *worker) Complete(done *eventloop.Completion) {
	index, end := uint32(done.Slot)/2, int(done.Slot)%2
	c := w.conn(index)
	if done.Op == eventloop.OpWatch {
		w.watchDone(c, end, done)
		return
	}
	switch c.state {
	case stateHello:
		w.helloDone(c, done)
	case stateTurnedAway:
		w.turnedAwayDone(c, done)
	case stateDialling:
		w.dialDone(c, done)
	case stateRelaying:
		w.relayDone(c, end, done)
	case stateLeaving:
		w.leavingDone(c, end, done)
	case stateClosing:
		w.closeDone(c, done)
	case stateNone:
		w.tasks[index].complete(done)
	case stateQueued, stateRetrying, stateMoving, stateFlushing:
		panic("proxy: completion of " + done.Op.String() + " for a connection that has no operation in flight")
	}
}

// Expire implements [eventloop.Handler]: a timer is due.
func (w *worker) Expire(index uint32) {
	c := w.conn(index)
	switch c.state {
	case stateHello:
		w.helloExpired(c)
	case stateTurnedAway:
		w.end(c, c.outcome)
	case stateDialling:
		w.dialExpired(c)
	case stateQueued:
		w.queueExpired(c)
	case stateRetrying:
		w.dial(c)
	case stateRelaying:
		w.relayExpired(c)
	case stateFlushing:
		w.flush(c)
	case stateNone:
		w.tasks[index].expire()
	case stateLeaving, stateMoving, stateClosing:
	}
}
