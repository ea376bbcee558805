package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
)

const (
	// lingerMost limits how long a client that is turned away may take to read its message and
	// close.
	lingerMost = 2 * time.Second
	// silentLinger is the same for a client that gets no message and whose first byte has not
	// arrived: bytes already on their way arrive within this time.
	silentLinger = 200 * time.Millisecond
	// discardMost limits the bytes that such a client may send meanwhile.
	discardMost = 256 << 10
	// lingeringMost limits the clients that linger on one loop. Further ones are closed at once.
	lingeringMost = 1024
)

// lingeringMost is the constant of this name, or an eighth of the loop's share of the free slots if
// that is less: clients that are served need the descriptors.
func (s *Server) lingeringMost() int {
	return min(lingeringMost, max(8, s.slots.all.room()/8/len(s.workers)))
}

// turnAway ends a client that is not served. It sends the message, if there is one, and a FIN. Then
// it reads and discards what the client sends, until the client closes. Closing at once would
// answer bytes that the client has already sent with a reset, also on a unix socket, and a reset
// discards the message and the FIN (RFC 1122, 4.2.2.13; RFC 9293, 3.6.1; unix(7)).
func (w *worker) turnAway(c *conn, message []byte, o Outcome) {
	slot := c.slot(clientEnd)
	c.state = stateTurnedAway
	c.outcome = o
	if c.flags&flagTraced != 0 {
		w.note(c, Step{Kind: StepTurnedAway, Reason: o.Reason})
	}
	w.lingering++
	// Clients that are turned away must not keep others out: from here on, only lingeringMost
	// limits them. Counted before the slot is given back, the client is never missed by
	// Connections: a drain would be over too early.
	w.server.slotless.Add(1)
	if c.flags&flagSlot != 0 {
		w.giveSlot(c)
	}
	c.unlimit()
	linger := lingerMost
	switch fd := w.loop.FD(slot); {
	case len(message) > 0:
		// The socket is new: its send buffer takes the whole message. If the client has gone
		// meanwhile, the error does not matter.
		rawsys.Send(fd, message, unix.MSG_DONTWAIT)
	case rawsys.Unread(fd) == 0:
		linger = silentLinger
	}
	if w.loop.Shutdown(slot) != 0 || w.lingering > w.server.lingeringMost() {
		w.end(c, c.outcome)
		return
	}
	w.loop.SetTimer(c.index, w.loop.Now()+int64(linger))
	switch w.loop.Reading(slot) {
	case eventloop.OpNone:
		w.loop.Recv(slot)
	case eventloop.OpWatch: // while it waited
		w.unwatchClient(c)
	}
}

// turnedAwayDone discards what a client sends after it was turned away.
func (w *worker) turnedAwayDone(c *conn, done *eventloop.Completion) {
	if done.Buffer != 0 {
		w.loop.Release(done.Buffer)
	}
	discarded := &c.flow[clientEnd].bytes
	if *discarded == 0 {
		w.loop.SetTimer(c.index, w.loop.Now()+int64(lingerMost)) // it was silent until now
	}
	*discarded += uint64(done.N)
	if done.N == 0 || *discarded > discardMost {
		w.end(c, c.outcome)
		return
	}
	w.loop.Recv(done.Slot)
}
