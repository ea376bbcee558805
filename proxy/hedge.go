package proxy

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
)

// A hedge is a second dial for a client whose first dial was not answered within Pool.Hedge. The
// dial that is answered first serves the client. The other one is closed before a byte went either
// way. If the hedge wins, the connection takes over its socket once its own dial has been given up.
type hedge struct {
	worker  *worker
	index   uint32
	conn    *conn // nil when this dial is no longer needed
	pool    *Pool
	backend *backend.Backend
	dialled int64 // loop clock
	origin  dialler
	won     bool // it was answered, and the dial of conn is being given up
	err     unix.Errno
}

// HedgeBudget keeps second dials from adding more than a tenth to the load of a pool: each dial
// earns a tenth of a second dial, and a burst may spend what was saved. The zero value is ready for
// use, and nil allows no second dials. It is live: it outlives the configuration of its pool.
type HedgeBudget struct {
	spent atomic.Int64 // tenths of a dial, less what was earned; never below 0
}

const (
	hedgePrice = 10               // the price of a second dial; each dial earns 1
	hedgeSaved = 100 * hedgePrice // the most that may be spent at once
)

// earn adds what one dial earns.
func (h *HedgeBudget) earn() {
	if h != nil {
		h.save(1)
	}
}

// save takes tenths of a dial off what was spent, down to 0.
func (h *HedgeBudget) save(tenths int64) {
	for n := h.spent.Load(); n > 0; n = h.spent.Load() {
		if h.spent.CompareAndSwap(n, max(0, n-tenths)) {
			return
		}
	}
}

// spend reports whether a second dial is allowed, and pays for it.
func (h *HedgeBudget) spend() bool {
	if h == nil {
		return false
	}
	if h.spent.Add(hedgePrice) <= hedgeSaved {
		return true
	}
	h.refund()
	return false
}

// refund returns the price of a second dial that was not made. Dials on other loops may have earned
// since then, from what this one had spent.
func (h *HedgeBudget) refund() { h.save(hedgePrice) }

// hedge returns the second dial in flight of a connection, nil if there is none.
func (c *conn) hedge() *hedge {
	if c.search == nil {
		return nil
	}
	return c.search.hedge
}

// startHedge dials another backend for a client whose dial has not been answered yet, if that is
// allowed.
func (w *worker) startHedge(c *conn) {
	pool, now := c.pool, w.loop.Now()
	if int(c.attempts) >= pool.Attempts || w.server.retrying.Load() > 0 || !pool.Hedges.spend() {
		return // attempts or budget are used up, or descriptors are short
	}
	b, _ := pool.Balancer.Pick(balancer.Request{
		Now: now, Client: c.client.Addr(), Tried: append(c.tried(), c.backend), Beside: c.backend,
	})
	if b == nil {
		pool.Hedges.refund()
		return
	}
	h := &hedge{worker: w, conn: c, pool: pool, backend: b, dialled: now,
		origin: dialler{client: c.client.Addr(), first: c.serial}}
	h.index = w.startTask(h)
	if errno := w.startConnect(h.slot(), pool, b, &h.origin); errno != 0 { // the first dial continues
		pool.Hedges.refund()
		h.free()
		return
	}
	c.searching().hedge = h
	c.countAttempt()
	w.poolCounters(pool).hedges.add(1)
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepHedge, b, 0, Outcome{})
	}
	h.setTimer()
}

func (h *hedge) slot() eventloop.Slot { return slotOf(h.index, backendEnd) }

// free removes the hedge from its backend's count. Its socket must be closed.
func (h *hedge) free() {
	h.pool.Balancer.Done(h.backend, h.worker.loop.Now())
	h.worker.endTask(h.index)
}

// setTimer sets the timer for the next attempt at a full queue, or for the end of the dial.
func (h *hedge) setTimer() {
	h.worker.loop.SetTimer(h.index, h.worker.dialDue(h.slot(), h.pool, h.dialled))
}

// expire implements task.
func (h *hedge) expire() {
	w := h.worker
	switch {
	case w.loop.Now() >= h.dialled+int64(h.pool.ConnectTimeout):
		w.giveUpConnect(h.slot())
		return
	case !w.loop.Busy(h.slot()):
		w.loop.Connect(h.slot(), h.backend.Sockaddr)
	}
	h.setTimer()
}

// complete implements task: the second dial has ended.
func (h *hedge) complete(done *eventloop.Completion) {
	w, c := h.worker, h.conn
	switch {
	case c == nil:
		w.dialLost(h.pool, h.backend, h.dialled, done)
		h.free()
	case done.Err == 0 || answered(done.Err):
		w.dialOK(h.pool, h.backend, h.dialled)
		h.win(done.Err)
	case w.queueFull(h.pool, h.backend, h.dialled, done):
		h.setTimer()
	case w.anotherSource(h.pool, h.backend, &h.origin, done):
	default:
		h.fail(done)
	}
}

// win gives the client to this dial: at once if the client's own dial has failed, otherwise when
// that dial has been given up.
func (h *hedge) win(errno unix.Errno) {
	w, c := h.worker, h.conn
	h.won, h.err = true, errno
	w.poolCounters(h.pool).hedgesWon.add(1)
	w.loop.StopTimer(h.index)
	if c.flags&flagBackend == 0 {
		h.takeOver()
		return
	}
	// A backend that is this much slower than another is put in backoff, as if it had timed out:
	// the next clients need not wait for it, and a probe shows when it has recovered.
	//
	// A connect to a unix socket is never slow. If it waits, the queue is full (see queueFull),
	// which is not a failure.
	if c.backend.Sockaddr.Family() != unix.AF_UNIX {
		c.backend.NoteDialError(unix.ETIMEDOUT)
		h.pool.Balancer.TooSlow(c.backend, c.dialled, w.loop.Now())
	}
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepDialFailed, c.backend, c.dialled, Outcome{SideBackend, ReasonConnectTimeout, 0})
	}
	c.search.noteFailed(c.backend, ReasonConnectTimeout)
	w.loop.StopTimer(c.index)
	w.giveUpConnect(c.slot(backendEnd)) // continues with takeOver
}

// takeOver moves the socket of a dial that has won to its connection, which has no backend socket.
func (h *hedge) takeOver() {
	w, c := h.worker, h.conn
	c.search.hedge = nil
	w.loop.Attach(c.slot(backendEnd), w.loop.Detach(h.slot()))
	w.endTask(h.index)
	c.backend, c.dialled, c.flags = h.backend, h.dialled, c.flags|flagBackend|flagCounted
	w.connected(c, h.err)
}

// fail ends a second dial that has failed. Another one may follow it.
func (h *hedge) fail(done *eventloop.Completion) {
	w, c := h.worker, h.conn
	o := w.dialOver(h.pool, h.backend, h.dialled, done)
	c.search.hedge = nil
	if c.flags&flagBackend == 0 { // the first dial has failed already
		w.endTask(h.index)
		c.backend, c.dialled, c.flags = h.backend, h.dialled, c.flags|flagCounted
		w.dialFailed(c, o)
		return
	}
	if c.flags&flagTraced != 0 {
		w.dialStep(c, StepDialFailed, h.backend, h.dialled, o)
	}
	c.search.noteFailed(h.backend, o.Reason)
	h.free()
	w.startHedge(c)
}

// withdrawHedge gives up the second dial of a connection that no longer needs it.
func (w *worker) withdrawHedge(c *conn) {
	h := c.hedge()
	if h == nil {
		return
	}
	c.search.hedge = nil
	h.conn = nil
	w.loop.StopTimer(h.index)
	if h.won {
		w.loop.Close(h.slot())
		h.free()
		return
	}
	w.giveUpConnect(h.slot())
}
