package traffic

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// idling is the work Idle: one request on each connection, then nothing. A connection that is lost
// later is not replaced: the number of connections must be known to measure what a proxy holds.
type idling struct {
	l *clientLoop
}

func newIdling(l *clientLoop) work {
	// Its requests, which are measured, come before the load of other kinds of work would begin.
	l.from = 0
	return &idling{l}
}

func (w *idling) keeps() bool         { return true }
func (w *idling) start()              {}
func (w *idling) due(int64) int64     { return forever }
func (w *idling) done(now int64) bool { return now >= w.l.until }

func (w *idling) ready(c *conn) {
	c.beginMessage(c.dialled)
	w.event(c)
}

func (w *idling) event(c *conn) {
	complete, fault := w.l.exchange(c)
	if complete {
		c.state = free
		w.l.succeeded++
		w.l.record.operations++
		recordTime(w.l.record.latency, Now()-c.intended)
		w.l.opened(c)
		_, fault = w.l.exchange(c) // something may follow the response
	}
	if fault != "" {
		w.l.fail(c, fault)
	}
}

func (w *idling) lost(c *conn) {
	if !c.counted {
		w.l.open(c, uint64(c.id))
	}
}

// finish checks that every connection is still there: an event may be on its way.
func (w *idling) finish(int64) {
	for i := range w.l.conns {
		c := &w.l.conns[i]
		if c.state != free {
			continue
		}
		switch n, errno := rawsys.Recv(int(c.fd), w.l.in, unix.MSG_PEEK); {
		case errno == unix.EAGAIN:
		case errno != 0:
			w.l.fail(c, sentence("receive", errno))
		case n == 0:
			w.l.fail(c, faultEnd)
		default:
			w.l.fail(c, faultUnasked)
		}
	}
}
