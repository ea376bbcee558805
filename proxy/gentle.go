package proxy

import (
	"sync/atomic"
	"time"

	"l4proxy/backend"
)

// GentleEnd describes how to end the connections of a listener, of a backend, or of the whole
// server, for a drain.
type GentleEnd struct {
	// Listener is the name of a listener, "" for all of them.
	Listener string
	// Backend is nil for all backends.
	Backend *backend.Backend
	// Spread is the period over which the connections get their turns, each at a moment drawn for
	// it. From its turn on, a connection is ended as soon as it is quiet.
	Spread time.Duration
	// Timeout is when connections that are still open are ended; 0 means never.
	Timeout time.Duration
	// Closed, if set, counts the connections that are ended because of the timeout.
	Closed *atomic.Uint64
	// Cancelled is called on the loops now and then, and cancels the rest if it returns true; nil
	// never does. It must not block.
	Cancelled func() bool
}

// gentleEvery is how often a loop looks for connections whose turn has come.
const gentleEvery = 50 * time.Millisecond

// gentleEnd is the task of a GentleEnd on one worker.
type gentleEnd struct {
	timerTask
	GentleEnd
	slicing
	worker *worker
	index  uint32
	asked  int64 // loop clock
}

// EndGently ends connections. It returns at once. With a timeout, connections that arrive until
// then are ended too; the caller makes sure that no further ones come.
func (s *Server) EndGently(g GentleEnd) { s.tell(func(w *worker) { w.endGently(g) }) }

func (w *worker) endGently(request GentleEnd) {
	g := &gentleEnd{GentleEnd: request, worker: w, asked: w.loop.Now()}
	g.index = w.startTask(g)
	g.expire()
}

// expire implements task: it ends the quiet connections whose turn has come, or all of them when
// the timeout is over.
func (g *gentleEnd) expire() {
	w := g.worker
	if g.Cancelled != nil && g.Cancelled() {
		w.endTask(g.index)
		return
	}
	now := w.loop.Now()
	over := g.Timeout > 0 && now-g.asked >= int64(g.Timeout)
	if over && !g.endParked() {
		return
	}
	left := g.Backend != nil && g.Backend.Active() > 0 // dials too, and second dials
	for index := range w.indices() {
		c := w.conn(index)
		if !g.concerns(c) {
			continue
		}
		left = true
		reason := ReasonDrained
		switch {
		case over:
			reason = ReasonDrainTimeout
		// It is quiet only while it is relaying.
		case now-g.asked < part(g.Spread, c.chance()) || !w.quiet(c):
			continue
		}
		if !g.room(w) {
			g.pause(w, g.index)
			return
		}
		if over {
			g.countClosed()
		}
		w.cutOff(c, Outcome{Side: SideProxy, Reason: reason})
	}
	if over && !left {
		w.endTask(g.index)
		return
	}
	w.loop.SetTimer(g.index, now+int64(gentleEvery))
}

// concerns reports whether a connection is to be ended. One that is being turned away, is moving to
// another process, or is ending already, is not.
func (g *gentleEnd) concerns(c *conn) bool {
	switch c.state {
	case stateNone, stateTurnedAway, stateLeaving, stateMoving, stateClosing, stateFlushing:
		return false
	}
	if g.Backend != nil {
		// A dial is left alone: if it fails, another backend serves the client.
		return c.state == stateRelaying && c.backend == g.Backend
	}
	return g.Listener == "" || c.listener.Name == g.Listener
}

func (g *gentleEnd) countClosed() {
	if g.Closed != nil {
		g.Closed.Add(1)
	}
}

// endParked ends the clients of the listener that wait for a slot. It reports whether it is done.
func (g *gentleEnd) endParked() bool {
	if g.Backend != nil {
		return true
	}
	w := g.worker
	for _, s := range w.sockets {
		for len(s.parked) > 0 && (g.Listener == "" || s.listener.Name == g.Listener) {
			if !g.room(w) {
				g.pause(w, g.index)
				return false
			}
			g.countClosed()
			w.endArrival(s.nextParked(), Outcome{Side: SideProxy, Reason: ReasonDrainTimeout}, "")
		}
	}
	return true
}
