package proxy

import (
	"math"
	"time"

	"l4proxy/backend"
)

// Evict describes how to end the connections of a backend that is down, removed, or no longer the
// best choice.
type Evict struct {
	Backend *backend.Backend
	Reason  Reason
	// Reset ends them with a reset, so that clients notice at once. Otherwise they end with a FIN.
	Reset bool
	// After is the delay before the first of them ends.
	After time.Duration
	// Over is the period over which they are ended evenly, so that their clients do not all
	// reconnect at once; 0 ends them all at once.
	Over time.Duration
	// Unless is called on a loop when After is over, and cancels the eviction if it returns true;
	// nil never does. It must not block.
	Unless func() bool
}

// evictEvery is how often some connections of an eviction are ended.
const evictEvery = 50 * time.Millisecond

// eviction is the task of an Evict on one worker. It ends connections that existed when it was
// requested.
type eviction struct {
	timerTask
	Evict
	slicing
	worker       *worker
	index        uint32
	asked, began int64  // loop clock; began is 0 until After is over
	count, ended int    // connections in all, and ended so far
	next         uint32 // the index to look at next
	again        bool   // the second pass, for dials that were answered while they were given up
}

// Evict ends connections of a backend. It returns at once.
func (s *Server) Evict(e Evict) { s.tell(func(w *worker) { w.evict(e) }) }

// evict starts an eviction.
func (w *worker) evict(request Evict) {
	e := &eviction{Evict: request, worker: w, asked: w.loop.Now()}
	e.index = w.startTask(e)
	if e.After > 0 {
		w.loop.SetTimer(e.index, w.loop.Now()+int64(e.After))
		return
	}
	e.expire()
}

// expire implements task: it ends the connections that are due by now.
func (e *eviction) expire() {
	w := e.worker
	now := w.loop.Now()
	if e.began == 0 && !e.begin(now) {
		return
	}
	for due := e.due(now); e.ended < due; e.ended++ {
		if !e.room(w) {
			e.pause(w, e.index)
			return
		}
		if !e.endNext() {
			break
		}
	}
	if now-e.began >= int64(e.Over) || e.next >= w.indices() {
		if e.again {
			w.endTask(e.index)
			return
		}
		e.again, e.next = true, 0
	}
	w.loop.SetTimer(e.index, now+int64(evictEvery))
}

// begin is called when After is over. It reports whether the eviction takes place.
func (e *eviction) begin(now int64) bool {
	w := e.worker
	if e.Unless != nil && e.Unless() {
		w.endTask(e.index)
		return false
	}
	e.began = now
	w.connections(func(c *conn) {
		if e.concerns(c) {
			e.count++
		}
	})
	if e.Reason == ReasonBackendDown || e.Reason == ReasonBackendRemoved {
		e.abandonDials()
	}
	return true
}

// due is the number of connections to end by now.
func (e *eviction) due(now int64) int {
	elapsed := now - e.began
	switch {
	case e.again:
		return math.MaxInt
	case elapsed >= int64(e.Over):
		return e.count
	}
	return int(int64(e.count) * elapsed / int64(e.Over))
}

func (e *eviction) concerns(c *conn) bool {
	return c.state == stateRelaying && c.backend == e.Backend && c.dialled <= e.asked
}

// abandonDials gives up the dials to a backend that is down or removed. Their clients continue with
// the next backend.
func (e *eviction) abandonDials() {
	w := e.worker
	w.connections(func(c *conn) {
		if c.state == stateDialling && c.flags&flagBackend != 0 && c.backend == e.Backend && c.dialled <= e.asked {
			c.flags &^= flagMayHedge
			w.giveUpConnect(c.slot(backendEnd))
		}
	})
	for _, t := range w.tasks {
		if h, ok := t.(*hedge); ok && !h.won && h.backend == e.Backend && h.dialled <= e.asked {
			w.giveUpConnect(h.slot())
		}
	}
}

// endNext ends one connection and reports whether there was one.
func (e *eviction) endNext() bool {
	w := e.worker
	for e.next < w.indices() {
		c := w.conn(e.next)
		e.next++
		if !e.concerns(c) {
			continue
		}
		outcome := Outcome{Side: SideProxy, Reason: e.Reason}
		// It is ending already, with this outcome.
		if c.flags&flagResetOut != 0 && c.outcome.Reason != ReasonNone {
			outcome = c.outcome
		}
		if e.Reset {
			c.flags |= flagResetOut
		}
		w.end(c, outcome)
		return true
	}
	return false
}
