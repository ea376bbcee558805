package proxy

import (
	"l4proxy/eventloop"
)

// The life of a connection, in the order of time.
//
//	step           what happens                                                            file
//	accept         the loop delivers the descriptor of a new client                        accept.go
//	hello          bytes of the client that decide about it are read; none are yet         admit.go
//	ACL            the access control list decides about the client's address              admit.go
//	limits         a slot is taken; without one, the client is parked                      admit.go, slots.go
//	place          the loop with the most room takes the client                            admit.go
//	route          the pool is chosen                                                      admit.go
//
//	state          what happens                                                            file
//	turnedAway     the client gets a message, or just a FIN; what it sends is discarded    turnaway.go
//	dialling       a backend was picked and is being connected; if it fails, the next one  dial.go, hedge.go
//	queued         all backends are full, or none can serve: the client waits              queue.go
//	retrying       a dial lacked a descriptor: it is tried again shortly                   dial.go
//	relaying       bytes go both ways until both streams have ended                        relay.go
//	closing        the outcome is known; operations in flight are being cancelled          close.go
//	flushing       bytes already sent are given a moment to arrive before a reset          close.go
//
// Every way out sets one Outcome and ends in worker.finish, which writes the record, closes the sockets and gives
// everything back. While a client waits (queued, retrying), and while one of two streams has ended, watch.go notices
// that a peer has gone.
type connState uint8

const (
	stateNone connState = iota // no connection: the index is free, or belongs to a task
	stateTurnedAway
	stateDialling
	stateQueued
	stateRetrying
	stateRelaying
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
	case stateTurnedAway:
		w.turnedAwayDone(c, done)
	case stateDialling:
		w.dialDone(c, done)
	case stateRelaying:
		w.relayDone(c, end, done)
	case stateClosing:
		w.closeDone(c, done)
	case stateNone:
		w.tasks[index].complete(done)
	case stateQueued, stateRetrying, stateFlushing:
		panic("proxy: completion of " + done.Op.String() + " for a connection that has no operation in flight")
	}
}

// Expire implements [eventloop.Handler]: a timer is due.
func (w *worker) Expire(index uint32) {
	c := w.conn(index)
	switch c.state {
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
	case stateClosing:
	}
}
