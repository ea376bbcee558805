package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/eventloop"
	"l4proxy/eventloop/rawsys"
)

const (
	// denyLinger bounds how long a denied client has to take its message and close.
	denyLinger = 2 * time.Second
	// silentLinger is the same for a client that gets no message and has not sent a byte: what it has sent arrives by then.
	silentLinger = 200 * time.Millisecond
	// denyDiscard bounds what a denied client may send meanwhile.
	denyDiscard = 256 << 10
	// denyingMost bounds the denied clients that linger on one loop. Beyond it they are closed at once.
	denyingMost = 1024
)

// denyingMost is denyingMost, or an eighth of its share of the places that are free if that is less: descriptors are
// for those who are allowed.
func (s *Server) denyingMost() int {
	return min(denyingMost, max(8, s.slots.all.room()/8/len(s.workers)))
}

// turnAway ends a denied client with a reset.
func (w *worker) turnAway(a arrival, decision acl.Decision) {
	rawsys.SetLinger(a.fd, 1, 0)
	rawsys.Close(a.fd)
	w.record(&conn{
		listener: a.listener, peer: a.peer, rule: decision.Name, accepted: a.at,
		outcome: Outcome{SideProxy, ReasonDenied},
	}, -1)
	w.load.Add(-1)
	w.givePlace(a.listener)
}

// deny ends a client that may not connect, with the message or without.
func (w *worker) deny(index uint32, c *conn, decision acl.Decision) {
	c.rule = decision.Name
	var message []byte
	if decision.Action == acl.Message {
		message = c.listener.DenyMessage
	}
	w.sayGoodbye(index, c, message, Outcome{SideProxy, ReasonDenied})
}

// sayGoodbye turns a client away. It sends the message, if there is one, and a FIN, and then reads and discards what the
// client sends until it closes. Closing at once would answer bytes that the client has already sent with a reset, also on
// a unix socket, and a reset discards the message and the FIN (RFC 1122, 4.2.2.13; RFC 9293, 3.6.1; unix(7)).
func (w *worker) sayGoodbye(index uint32, c *conn, message []byte, o Outcome) {
	slot := slotOf(index, client)
	c.state = stateDenying
	c.outcome = o
	w.denying++
	// The socket is new: its send buffer takes the message whole. A client that has gone meanwhile needs none.
	// Who is turned away must not keep others out: from here on, only denyingMost counts it.
	c.flags |= flagNoPlace
	w.server.denied.Add(1)
	w.givePlace(c.listener)
	linger := denyLinger
	switch fd := w.loop.FD(slot); {
	case len(message) > 0:
		rawsys.Send(fd, message, unix.MSG_DONTWAIT)
	case rawsys.Unread(fd) == 0:
		linger = silentLinger
	}
	if w.loop.Shutdown(slot) != 0 || w.denying > w.server.denyingMost() {
		w.end(index, c, c.outcome)
		return
	}
	w.loop.SetTimer(index, w.loop.Now()+int64(linger))
	if w.loop.Reading(slot) == eventloop.OpNone {
		w.loop.Recv(slot)
	} else { // it was watched while it waited
		w.unwatchClient(index)
	}
}

// denyDone throws away what a denied client sends.
func (w *worker) denyDone(index uint32, c *conn, done *eventloop.Completion) {
	if done.Buffer != 0 {
		w.loop.Release(done.Buffer)
	}
	thrownAway := &c.flow[client].bytes
	if *thrownAway == 0 {
		w.loop.SetTimer(index, w.loop.Now()+int64(denyLinger)) // it was silent until now
	}
	*thrownAway += uint64(done.N)
	if done.N == 0 || *thrownAway > denyDiscard {
		w.end(index, c, c.outcome)
		return
	}
	w.loop.Recv(done.Slot)
}
