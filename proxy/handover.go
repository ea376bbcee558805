package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"l4proxy/backend"
)

const (
	// handOverMost is the most connections that leave at once. A connection stands still until all
	// of its batch have left, been delivered and been taken up by the other process, so a batch is
	// small, and the next one leaves only then.
	handOverMost = 64
	// dialPatience is how long dials may still be answered. Then the other process dials again.
	dialPatience = 250 * time.Millisecond
	// stopPatience is how long a hand-over that has been stopped waits for its loops.
	stopPatience = time.Second
	// handOverPause is the time between two looks for dials that were answered.
	handOverPause = 5 * time.Millisecond
)

// HandOverReport is what became of the connections of a Server.
type HandOverReport struct {
	Moved   int    // connections that the other process has
	Bytes   uint64 // that were on their way through this process, and moved
	Batches int    // deliveries
	Left    int    // connections that end here: they are ending already, or clients turned away
	// How long connections stood still: from the first cancelled operation of their batch until the
	// batch was delivered. Half of them no longer than Median, 99 % no longer than P99.
	Median, P99, Longest time.Duration
}

// handOverPhase is what kills need to know about hand-overs. They wait for the end of one.
type handOverPhase struct {
	running atomic.Bool
	// done counts those that have moved all connections. This process may serve again after one: if
	// the other process dies before the upgrade is over.
	done atomic.Uint32
}

func (p *handOverPhase) begin() { p.running.Store(true) }

func (p *handOverPhase) end(moved bool) {
	if moved {
		p.done.Add(1)
	}
	p.running.Store(false)
}

// LeftError is returned by the function given to HandOver if the other process has taken a batch
// without some of its connections. These continue here.
type LeftError struct {
	Indexes []int // of the batch
	Err     error // ends the hand-over, unless it is nil
}

func (e *LeftError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%d connections were not taken", len(e.Indexes))
	}
	return fmt.Sprintf("%d connections were not taken: %v", len(e.Indexes), e.Err)
}

func (e *LeftError) Unwrap() error { return e.Err }

// handOver is a hand-over under way. It runs on the goroutine of its caller; what it needs from the
// loops are short tasks.
type handOver struct {
	server  *Server
	ctx     context.Context
	deliver func([]Moved) error
	report  HandOverReport
	began   time.Time // of the batch
	stood   []stood   // one for each batch
}

// stood is how long the connections of a batch stood still.
type stood struct {
	time.Duration
	connections int
}

// owed is what a moved connection still holds: a connection slot and, if backend is not nil, its
// count on the backend. It is released when the hand-over is over. Until then, no client that waits
// here must get it: the other process uses it.
type owed struct {
	listener *Listener
	pool     *Pool
	backend  *backend.Backend
}

// HandOver moves every connection to another Server: it calls deliver with batches of them, one
// after another. When deliver returns nil, the other process has the connections, and this one
// closes its descriptors and nothing else. When it returns an error, the batch continues here as if
// nothing had happened, and HandOver ends with that error; a [LeftError] says that only a part of
// the batch does. deliver must not close descriptors and must not keep the batch.
//
// Call PauseAccepting before. Clients that are turned away, and connections that are ending, stay:
// see the report.
func (s *Server) HandOver(ctx context.Context, deliver func([]Moved) error) (HandOverReport, error) {
	if !s.handing.TryLock() {
		return HandOverReport{}, errors.New("a hand-over is under way")
	}
	defer s.handing.Unlock()
	s.phase.begin()
	h := &handOver{server: s, ctx: ctx, deliver: deliver}
	err := h.run()
	defer func() { s.phase.end(err == nil) }()
	_, _ = ask(s, func(w *worker) bool { w.releaseOwed(); return true })
	h.report.Left = s.Connections()
	h.report.Median, h.report.P99, h.report.Longest = quantiles(h.stood)
	return h.report, err
}

// run moves connections until there are none left that can move.
func (h *handOver) run() error {
	start := time.Now()
	for {
		before := h.report.Moved
		if err := h.pass(func(c *conn) bool { return c.state == stateRelaying }); err != nil {
			return err
		}
		dials, ok := ask(h.server, func(w *worker) int { return w.countState(stateDialling) })
		switch {
		case !ok:
			return errStopped
		case h.report.Moved != before:
			continue
		case sum(dials) > 0 && time.Since(start) < dialPatience:
			if err := h.sleep(handOverPause); err != nil {
				return err
			}
			continue
		}
		// Connections that hold a slot on a backend have moved, so the other process knows which
		// backends are full. Now the clients that wait can follow.
		waiting := func(c *conn) bool {
			return c.state == stateHello || c.state == stateDialling || c.state == stateRetrying
		}
		if err := errors.Join(h.pass(waiting), h.queues(), h.parked()); err != nil {
			return err
		}
		if h.report.Moved == before {
			return nil
		}
	}
}

var errStopped = errors.New("the server has been stopped")

// sleep waits, unless the hand-over has to end.
func (h *handOver) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return h.err()
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-h.server.stop:
		return errStopped
	}
}

func (h *handOver) err() error {
	select {
	case <-h.server.stop:
		return errStopped
	default:
		return context.Cause(h.ctx)
	}
}

// pass moves the connections that choose accepts, the loops in turn: while one stands still for a
// moment, the others relay.
func (h *handOver) pass(choose func(*conn) bool) error {
	next, over := make([]uint32, len(h.server.workers)), make([]bool, len(h.server.workers))
	for left := len(next); left > 0; {
		left = 0
		for i, w := range h.server.workers {
			if over[i] {
				continue
			}
			left++
			leavers, err := h.leave([]*worker{w}, func(w *worker, answer func([]*leaver)) {
				w.leave(choose, &next[i], handOverMost, func(left []*leaver) {
					over[i] = next[i] >= w.indices()
					answer(left)
				})
			})
			if err == nil {
				err = h.send(leavers)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// leave starts f on workers, and collects the connections with which f answers.
func (h *handOver) leave(workers []*worker, f func(*worker, func([]*leaver))) (all []*leaver, err error) {
	if err := h.err(); err != nil {
		return nil, err
	}
	h.began = time.Now()
	answers := make(chan []*leaver, len(workers))
	for _, w := range workers {
		if !w.loop.Post(func(w *worker) { f(w, func(left []*leaver) { answers <- left }) }) {
			return nil, errStopped
		}
	}
	stop := h.server.stop
	var late <-chan time.Time
	for got := 0; got < len(workers); {
		select {
		case left := <-answers:
			got++
			all = append(all, left...)
		case <-stop: // the loops run until the hand-over has returned, unless one has failed
			stop, late = nil, time.After(stopPatience)
			err = errStopped
		case <-late:
			return nil, errStopped
		}
	}
	if err != nil {
		h.comeBack(all)
		return nil, err
	}
	return all, nil
}

// send delivers connections that have left. Those that are not delivered come back.
func (h *handOver) send(leavers []*leaver) error {
	if len(leavers) == 0 {
		return nil
	}
	batch := make([]Moved, len(leavers))
	for i, l := range leavers {
		batch[i] = l.moved
	}
	err := h.deliver(batch)
	h.report.Batches++
	h.stood = append(h.stood, stood{time.Since(h.began), len(leavers)})
	var partly *LeftError
	switch {
	case err == nil:
		h.gone(leavers)
		return nil
	case errors.As(err, &partly):
		var gone, left []*leaver
		for i, l := range leavers {
			if slices.Contains(partly.Indexes, i) {
				left = append(left, l)
			} else {
				gone = append(gone, l)
			}
		}
		h.gone(gone)
		h.comeBack(left)
		return partly.Err
	}
	h.comeBack(leavers)
	return err
}

// gone closes the descriptors here. The sockets live on in the other process: no option and no
// state of them changes.
func (h *handOver) gone(leavers []*leaver) {
	for _, l := range leavers {
		h.report.Moved++
		h.report.Bytes += uint64(len(l.moved.Pending[clientEnd]) + len(l.moved.Pending[backendEnd]))
		l.moved.close()
	}
	h.tell(leavers, func(l *leaver) {
		if l.parked() {
			l.worker.listenerCounters(l.arrival.listener).moved.add(1)
			l.arrival.unlimit()
		} else {
			l.worker.gone(l)
		}
	})
}

// comeBack continues connections here. Clients that wait keep their order: the last one in the
// batch was the first one in the queue (see queues), and parked clients return to the head of
// theirs.
func (h *handOver) comeBack(leavers []*leaver) {
	slices.Reverse(leavers)
	for len(leavers) > 0 {
		// Those of one loop that follow each other; all of them if they do not wait.
		first, n := leavers[0], 1
		for n < len(leavers) && (leavers[n].worker == first.worker || first.moved.Backend >= 0) {
			n++
		}
		h.tell(leavers[:n], func(l *leaver) {
			if l.parked() {
				l.socket.parkAgain(l.arrival)
			} else {
				l.worker.comeBack(l)
			}
		})
		if first.moved.Backend < 0 {
			first.worker.await()
		}
		leavers = leavers[n:]
	}
}

// tell calls f for connections, on their loops.
func (h *handOver) tell(leavers []*leaver, f func(*leaver)) {
	for _, w := range h.server.workers {
		var own []*leaver
		for _, l := range leavers {
			if l.worker == w {
				own = append(own, l)
			}
		}
		if len(own) == 0 {
			continue
		}
		w.loop.Post(func(*worker) {
			for _, l := range own {
				f(l)
			}
		})
	}
}

// queues moves the clients that wait in queues, the last ones first: each goes to the head of its
// queue in the other process, before all that come later.
func (h *handOver) queues() error {
	turns, ok := ask(h.server, (*worker).queueTurns)
	if !ok {
		return errStopped
	}
	all := slices.Concat(turns...)
	slices.SortFunc(all, func(a, b uint64) int { return cmp.Compare(b, a) })
	for len(all) > 0 {
		part := all[:min(len(all), handOverMost)]
		all = all[len(part):]
		from := part[len(part)-1]
		leavers, err := h.leave(h.server.workers, func(w *worker, answer func([]*leaver)) {
			w.leave(func(c *conn) bool { return c.state == stateQueued && c.search.turn >= from }, new(uint32), math.MaxInt, answer)
		})
		if err != nil {
			return err
		}
		slices.SortFunc(leavers, func(a, b *leaver) int { return cmp.Compare(b.conn.search.turn, a.conn.search.turn) })
		if err := h.send(leavers); err != nil {
			return err
		}
	}
	return nil
}

// queueTurns returns the turns of the clients in queues.
func (w *worker) queueTurns() (all []uint64) {
	w.connections(func(c *conn) {
		if c.state == stateQueued {
			all = append(all, c.search.turn)
		}
	})
	return all
}

// parked moves the clients that were accepted beyond a limit, in the order in which they came.
func (h *handOver) parked() error {
	for {
		leavers, err := h.leave(h.server.workers, (*worker).leaveParked)
		if err != nil || len(leavers) == 0 {
			return err
		}
		slices.SortFunc(leavers, func(a, b *leaver) int { return cmp.Compare(a.moved.Accepted, b.moved.Accepted) })
		if err := h.send(leavers); err != nil {
			return err
		}
	}
}

func (w *worker) countState(state connState) (n int) {
	w.connections(func(c *conn) {
		if c.state == state {
			n++
		}
	})
	return n
}

// releaseOwed releases what moved connections have held until now.
func (w *worker) releaseOwed() {
	for _, o := range w.owed {
		if o.backend != nil {
			o.pool.Balancer.Done(o.backend, w.loop.Now())
		}
		w.server.slots.give(o.listener.Slots)
		w.freed = true
	}
	w.owed = nil
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// quantiles returns how long half of the connections, 99 % and all of them stood still at most.
func quantiles(batches []stood) (median, p99, longest time.Duration) {
	slices.SortFunc(batches, func(a, b stood) int { return cmp.Compare(a.Duration, b.Duration) })
	all, seen := 0, 0
	for _, b := range batches {
		all += b.connections
	}
	for _, b := range batches {
		if seen < (all+1)/2 {
			median = b.Duration
		}
		if seen < (all*99+99)/100 {
			p99 = b.Duration
		}
		seen += b.connections
		longest = b.Duration
	}
	return median, p99, longest
}
