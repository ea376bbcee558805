package proxy

import (
	"cmp"
	"math"
	"slices"
	"time"

	"l4proxy/backend"
)

// Evict says how the connections of a backend are ended that is down or gone, or no longer the right one.
type Evict struct {
	Backend *backend.Backend
	Reason  Reason
	// Reset ends them with a reset, so that clients know at once; otherwise with a FIN.
	Reset bool
	// After is how long they are left alone first.
	After time.Duration
	// Over is the time over which they are ended evenly, so that their clients do not come back all at once; 0 ends
	// them at once.
	Over time.Duration
	// Unless is asked when After is over, on a loop, and calls all of it off if it reports true; nil never does. It must
	// not block.
	Unless func() bool
}

// evictEvery is how often some connections of an eviction are ended.
const evictEvery = 50 * time.Millisecond

// eviction is an Evict under way on one worker. It is about the connections that were there when it was asked for.
type eviction struct {
	Evict
	asked, began int64  // loop clock; began is 0 until After is over
	count, ended int    // connections in all, and ended so far
	next         uint32 // the index to look at next
	again        bool   // this is the second pass, for dials that were answered when they were given up
	slices       int    // how often it has waited for room; see roomToEnd
}

// Evict ends connections of a backend. It returns at once.
func (s *Server) Evict(e Evict) {
	for _, w := range s.workers {
		w.loop.Post(e)
	}
}

// startEviction takes a conn for its timer.
func (w *worker) startEviction(e Evict) {
	index, c := w.takeConn()
	c.state = stateEvicting
	c.eviction = &eviction{Evict: e, asked: w.loop.Now()}
	if e.After > 0 {
		w.loop.SetTimer(index, w.loop.Now()+int64(e.After))
		return
	}
	w.evict(index, c)
}

// evict ends as many connections as are due by now.
func (w *worker) evict(index uint32, c *conn) {
	e, now := c.eviction, w.loop.Now()
	if e.began == 0 {
		if e.Unless != nil && e.Unless() {
			w.freeConn(index, c)
			return
		}
		e.began, e.count = now, w.countEvictable(e)
		if e.Reason == ReasonBackendDown {
			w.abandonDials(e)
		}
	}
	due := e.count
	if e.again {
		due = math.MaxInt
	} else if elapsed := now - e.began; elapsed < int64(e.Over) {
		due = int(int64(e.count) * elapsed / int64(e.Over))
	}
	for e.ended < due {
		if !w.roomToEnd(e) {
			w.nextSlice(index, e)
			return
		}
		if !w.evictNext(e) {
			break
		}
		e.ended++
	}
	if now-e.began >= int64(e.Over) || e.next >= w.connsEnd() {
		if e.again {
			w.loop.StopTimer(index)
			w.freeConn(index, c)
			return
		}
		e.again, e.next = true, 0
	}
	w.loop.SetTimer(index, now+int64(evictEvery))
}

// connsEnd is the index after the last conn.
func (w *worker) connsEnd() uint32 { return uint32(len(w.conns) * connChunk) }

func (w *worker) countEvictable(e *eviction) int {
	n := 0
	for i := range w.connsEnd() {
		if e.concerns(w.conn(i)) {
			n++
		}
	}
	return n
}

func (e *eviction) concerns(c *conn) bool {
	return c.state == stateRelaying && c.backend == e.Backend && c.dialled <= e.asked
}

// abandonDials sends those elsewhere who are just dialling the backend, which is down.
func (w *worker) abandonDials(e *eviction) {
	for i := range w.connsEnd() {
		c := w.conn(i)
		if (c.state == stateDialling || c.state == stateHedging) && c.backend == e.Backend && c.dialled <= e.asked {
			c.flags &^= flagMayHedge
			w.giveUpDial(i)
		}
	}
}

// evictNext ends one connection and reports whether there was one.
func (w *worker) evictNext(e *eviction) bool {
	for e.next < w.connsEnd() {
		index := e.next
		c := w.conn(index)
		e.next++
		if !e.concerns(c) {
			continue
		}
		outcome := Outcome{SideProxy, e.Reason}
		if c.flags&flagResetOut != 0 && c.outcome.Reason != ReasonNone { // its end is known, and under way
			outcome = c.outcome
		}
		if e.Reset {
			c.flags |= flagResetOut
		}
		w.end(index, c, outcome)
		return true
	}
	return false
}

// An IdleConn is a connection on which nothing moves.
type IdleConn struct {
	worker   *worker
	index    uint32
	accepted int64         // tells it from a later one in the same place
	Since    time.Duration // of the last byte, on the loops' clock
}

// Idle returns connections of a backend on which nothing has moved for at least quiet: from each loop those that have
// been idle for longest, at most so many. It waits for the loops, and returns nil when they have ended.
func (s *Server) Idle(b *backend.Backend, quiet time.Duration, most int) []IdleConn {
	var all []IdleConn
	for _, w := range s.workers {
		found := make(chan []IdleConn, 1)
		if !w.loop.Post(findIdle{b, quiet, most, found}) {
			return nil
		}
		select {
		case idle := <-found:
			all = append(all, idle...)
		case <-s.stop:
			return nil
		}
	}
	return all
}

// findIdle asks a worker for its idle connections of a backend.
type findIdle struct {
	backend *backend.Backend
	quiet   time.Duration
	most    int
	found   chan<- []IdleConn
}

func (w *worker) findIdle(f findIdle) {
	var candidates []IdleConn
	for i := range w.connsEnd() {
		c := w.conn(i)
		// A connection whose one side has finished is about to end by itself.
		if c.state == stateRelaying && c.backend == f.backend && c.flags&flagHalfClosed == 0 &&
			w.loop.Now()-c.lastActive >= int64(f.quiet) {
			candidates = append(candidates, IdleConn{w, i, c.accepted, time.Duration(c.lastActive)})
		}
	}
	slices.SortFunc(candidates, func(a, b IdleConn) int { return cmp.Compare(a.Since, b.Since) })
	var idle []IdleConn
	for _, i := range candidates { // system calls only for as many as are wanted
		if len(idle) == f.most {
			break
		}
		if c := w.conn(i.index); !w.cutsShort(i.index, c) && !w.unsent(i.index, c) {
			idle = append(idle, i)
		}
	}
	f.found <- idle
}

// endIdle asks a worker to end a connection if it is still idle.
type endIdle struct {
	IdleConn
	reason Reason
}

// EndIdle ends a connection with a FIN, if nothing has moved on it since it was found.
func (s *Server) EndIdle(i IdleConn, reason Reason) { i.worker.loop.Post(endIdle{i, reason}) }

func (w *worker) endIdle(e endIdle) {
	c := w.conn(e.index)
	if c.state == stateRelaying && c.accepted == e.accepted && time.Duration(c.lastActive) == e.Since &&
		!w.cutsShort(e.index, c) {
		w.end(e.index, c, Outcome{SideProxy, e.reason})
	}
}
