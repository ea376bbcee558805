package proxy

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/internal/rawsys"
)

// adoption is the message that hands a loop a connection of another process.
type adoption struct {
	moved    Moved
	listener *Listener
	pool     *Pool
	backend  *backend.Backend // nil if no backend was dialled
	limited  bool             // see clientlimit.go
	tried    []*backend.Backend
	failed   []FailedDial
}

// Adopt takes over connections from another Server, their descriptors included, and returns how
// many it serves. The values may come from another version of the program: a connection that cannot
// be served is closed and logged. Connections beyond a limit are taken anyway.
//
// Adopt may be called before Run. While the server runs, it returns after clients that wait have
// got their positions, so that calls one after another keep the order.
func (s *Server) Adopt(moved []Moved) (n int) {
	var waiting *worker // one loop takes all that wait, in their order
	var orphaned int
	var bad error
	failed := 0
	for i := range moved {
		m := &moved[i]
		if err := m.Check(); err != nil {
			bad, failed = err, failed+1
			m.close()
			continue
		}
		a := &adoption{moved: *m, listener: s.listenerOf(m)}
		known := a.find(s)
		w := s.emptiest()
		if m.Backend < 0 {
			if waiting == nil {
				waiting = w
			}
			w = waiting
		}
		if !w.take(a) {
			bad, failed = errStopped, failed+1
			m.close()
			continue
		}
		n++
		if !known {
			orphaned++
		}
	}
	if failed > 0 {
		s.log.Error("connections from the old process closed", "connections", failed, "error", bad.Error())
	}
	if orphaned > 0 {
		s.log.Warn("connections taken over whose listener or backend is not in the configuration",
			"connections", orphaned)
	}
	if waiting != nil && s.isRunning() {
		waiting.await()
	}
	return n
}

// Check returns an error for a value that cannot be a connection. Adopt closes such a value; a
// caller that wants to leave it to the other process calls Check before.
func (m *Moved) Check() error {
	if m.Client == m.Backend {
		return errors.New("the client's socket is missing")
	}
	for _, fd := range []int{m.Client, m.Backend} {
		if fd < 0 && fd == m.Backend {
			continue
		}
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
			return fmt.Errorf("not a socket: %w", err)
		} else if kind != unix.SOCK_STREAM {
			return errors.New("not a stream socket")
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 0 {
			return errors.New("not a connected socket")
		}
	}
	return nil
}

func (m *Moved) close() {
	if m.Client >= 0 {
		rawsys.Close(m.Client)
	}
	if m.Backend >= 0 && m.Backend != m.Client {
		rawsys.Close(m.Backend)
	}
}

// find looks up pool and backends. It reports whether the configuration has all that the connection
// still needs.
func (a *adoption) find(s *Server) (known bool) {
	m := &a.moved
	known = a.listener.Name != "" && s.hasListener(a.listener)
	if m.Backend < 0 { // it is routed again
		a.pool = a.listener.route(m.heard())
	} else {
		a.pool = s.poolNamed(m.Pool)
		inPool := false
		a.backend, inPool = s.backendOf(a.pool, m.Server)
		known = known && inPool
	}
	if a.pool == nil { // no backend was picked yet
		return known
	}
	for _, b := range m.Tried {
		if found := a.pool.find(b); found != nil {
			a.tried = append(a.tried, found)
		}
	}
	for _, f := range m.FailedDials[max(0, len(m.FailedDials)-maxFailedKept-1):] {
		b := a.pool.find(f.MovedBackend)
		if b == nil {
			b = &backend.Backend{Address: f.Address, Sockaddr: sockaddrOf(f.Resolved)} // for the log only
		}
		a.failed = append(a.failed, FailedDial{b, reasonNamed(f.Reason)})
	}
	return known
}

func (s *Server) hasListener(l *Listener) bool {
	for _, own := range s.ledger.Load().state.Listeners {
		if own == l {
			return true
		}
	}
	return false
}

func (s *Server) isRunning() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// emptiest is the worker with the fewest connections.
func (s *Server) emptiest() *worker {
	least := s.workers[0]
	for _, w := range s.workers[1:] {
		if w.load.Load() < least.load.Load() {
			least = w
		}
	}
	return least
}

// take counts a connection, and passes it to the worker's loop. It reports false if the loop has
// ended.
func (w *worker) take(a *adoption) bool {
	parked := a.moved.Parked && a.moved.Backend < 0
	if !a.moved.unnamed() {
		a.limited = a.listener.limitAnyway(a.moved.Peer.Addr())
	}
	if !parked {
		w.load.Add(1)
		w.server.slots.takeAnyway(a.listener.Slots)
		if a.counted() {
			a.pool.Balancer.Adopt(a.backend)
		}
	}
	if w.loop.Post(a) {
		return true
	}
	if a.limited {
		a.listener.Clients.Release(a.moved.Peer.Addr())
	}
	if !parked {
		w.load.Add(-1)
		w.server.slots.give(a.listener.Slots)
		if a.counted() {
			a.pool.Balancer.Done(a.backend, rawsys.Monotonic())
		}
	}
	return false
}

// counted reports whether the balancer counts the connection: not once the backend's stream has
// ended.
func (a *adoption) counted() bool {
	if a.backend == nil {
		return false
	}
	var c conn
	c.unpack(&a.moved, 0)
	return c.flags&flagCounted != 0
}

// await waits until the worker has taken up what was posted before.
func (w *worker) await() {
	done := make(chan struct{})
	if !w.loop.Post(func(*worker) { close(done) }) {
		return
	}
	select {
	case <-done:
	case <-w.server.stop:
	}
}

// adopt continues a connection of another process.
func (w *worker) adopt(a *adoption) {
	m := &a.moved
	counts := w.listenerCounters(a.listener)
	counts.adopted.add(1)
	if m.Parked && m.Backend < 0 {
		w.adoptParked(arrival{fd: m.Client, client: m.Peer, header: m.Header, listener: a.listener, at: pastTime(m.Accepted, w.loop.Now()), limited: a.limited, shadow: m.Shadow})
		return
	}
	c := w.conn(w.takeIndex())
	c.unpack(m, w.loop.Now())
	c.listener, c.counts, c.pool, c.backend = a.listener, counts, a.pool, a.backend
	c.flags |= flagSlot | flagClient
	if a.limited {
		c.flags |= flagLimited
	}
	if m.Backend >= 0 {
		c.flags |= flagBackend
	} else {
		c.flags &^= flagCounted
	}
	if len(a.tried)+len(a.failed) > 0 || m.WaitUntil > 0 {
		c.search = &search{tried: a.tried, failed: a.failed}
		if m.WaitUntil > 0 && c.pool != nil {
			c.search.waitUntil = min(m.WaitUntil, w.loop.Now()+int64(c.pool.QueueTimeout))
			if c.flags&flagQueued != 0 { // if the timeout has changed, this is as near as it gets
				c.search.waiting = max(c.accepted, c.search.waitUntil-int64(c.pool.QueueTimeout))
			}
		}
	}
	if traces := w.server.tracer.set.Load(); traces != nil {
		if t := w.follow(traces, c.listener, c.client, m.Trace); t != nil {
			t.bytes = [2]bool{m.Bytes[clientEnd] > 0, m.Bytes[backendEnd] > 0}
			w.followConn(c, t)
			w.note(c, Step{Kind: StepAdopted, Pool: c.pool, Backend: c.backend})
		}
	}
	w.attachMoved(c, m)
	w.takeUp(c, m.Pending)
}

// adoptParked gives a client that had no slot the next free one here.
func (w *worker) adoptParked(a arrival) {
	for _, s := range w.sockets {
		if s.listener == a.listener {
			if len(s.parked) > 0 || !w.server.slots.take(a.listener.Slots) {
				s.park(a)
				s.waitForSlots()
				return
			}
			w.place(a)
			return
		}
	}
	w.server.slots.takeAnyway(a.listener.Slots) // no socket here at which it could wait
	w.place(a)
}

// attachMoved puts the sockets of a connection into the loop. Their file status flags belong to the
// socket: another engine may have set them.
func (w *worker) attachMoved(c *conn, m *Moved) {
	nonblocking := w.loop.SocketFlags()&unix.SOCK_NONBLOCK != 0
	for e, fd := range []int{m.Client, m.Backend} {
		if fd >= 0 {
			rawsys.SetNonblock(fd, nonblocking)
			w.loop.Attach(c.slot(e), fd)
		}
	}
}

// takeUp continues a connection that has just been attached. Bytes that were on their way are sent
// before more are read.
func (w *worker) takeUp(c *conn, pending [2][]byte) {
	switch {
	case w.ending.Reason != ReasonNone:
		if len(pending[clientEnd])+len(pending[backendEnd]) > 0 {
			c.flags |= flagResetOut // see cutsShort
		}
		if c.flags&flagBackend != 0 {
			c.state = stateRelaying
		} else {
			c.state = stateMoving
		}
		w.cutOff(c, w.ending)
		return
	case c.flags&flagBackend == 0:
		c.state = stateMoving
		if c.hello != nil {
			w.resumeHello(c, pending[clientEnd])
			return
		}
		w.serve(c)
		return
	}
	c.state = stateRelaying
	w.startPace(c)
	for e := range c.flow {
		if c.flow[e].ended == flowOpen && len(pending[e]) > 0 {
			w.loop.Send(c.slot(1-e), pending[e])
		} else {
			w.read(c, e)
		}
	}
	if !w.endIfOver(c) {
		w.watchIdle(c)
	}
}
