package proxy

import (
	"cmp"
	"slices"
	"time"

	"l4proxy/backend"
)

// An IdleConn is a connection on which no byte moves.
type IdleConn struct {
	worker   *worker
	index    uint32
	accepted int64         // distinguishes it from a later connection at the same index
	Since    time.Duration // time of the last byte, on the loops' clock
}

// Idle returns connections of a backend on which no byte has moved for at least quiet: from each
// loop the longest idle ones, and no more than most. It waits for the loops, and returns nil when
// they have ended.
func (s *Server) Idle(b *backend.Backend, quiet time.Duration, most int) []IdleConn {
	found, ok := ask(s, func(w *worker) []IdleConn { return w.idle(b, quiet, most) })
	if !ok {
		return nil
	}
	return slices.Concat(found...)
}

func (w *worker) idle(b *backend.Backend, quiet time.Duration, most int) []IdleConn {
	var candidates []IdleConn
	w.connections(func(c *conn) {
		// A half-closed connection is about to end by itself.
		if c.state == stateRelaying && c.backend == b && c.flags&flagHalfClosed == 0 &&
			w.loop.Now()-c.lastActive >= int64(quiet) {
			candidates = append(candidates, IdleConn{w, c.index, c.accepted, time.Duration(c.lastActive)})
		}
	})
	slices.SortFunc(candidates, func(a, b IdleConn) int { return cmp.Compare(a.Since, b.Since) })
	var idle []IdleConn
	for _, i := range candidates { // the checks below are system calls: only as many as needed
		if len(idle) == most {
			break
		}
		if c := w.conn(i.index); !w.cutsShort(c) && !w.unsent(c) {
			idle = append(idle, i)
		}
	}
	return idle
}

// EndIdle ends a connection with a FIN, if no byte has moved on it since it was found.
func (s *Server) EndIdle(i IdleConn, reason Reason) {
	i.worker.loop.Post(func(w *worker) {
		c := w.conn(i.index)
		if c.state == stateRelaying && c.accepted == i.accepted && time.Duration(c.lastActive) == i.Since &&
			!w.cutsShort(c) {
			w.end(c, Outcome{Side: SideProxy, Reason: reason})
		}
	})
}
