package proxy

import (
	"time"

	"l4proxy/balancer"
)

// A backend that hangs says nothing, and nothing happens on its connections: no completion tells of it. A worker
// therefore looks over its connections from time to time, when a pool wants to know (Pool.FirstByte).
const (
	// looksPerFirstByte is how often it does in the time that a backend has, which is found out an eighth of it late at
	// most.
	looksPerFirstByte = 8
	// A look takes a few ns a connection (BenchmarkFirstByteLook), and the loop does nothing else meanwhile.
	minLookEvery = 10 * time.Millisecond
	maxLookEvery = time.Second
	// timerLate is how late a timer may be even if the process did not stand still.
	timerLate = 20 * time.Millisecond
)

// lookEvery returns the time between two looks, 0 when no pool wants any.
func (s *State) lookEvery() time.Duration {
	least := time.Duration(0)
	for _, l := range s.Listeners {
		if t := l.Pool.FirstByte; t > 0 && (least == 0 || t < least) {
			least = t
		}
	}
	if least == 0 {
		return 0
	}
	return lookEvery(least)
}

// countOnce is the time in which all clients of one address that wait or have given up count as one failure: the time
// between two looks, or maxLookEvery without looks.
func (p *Pool) countOnce() time.Duration {
	if p.FirstByte == 0 {
		return maxLookEvery
	}
	return lookEvery(p.FirstByte)
}

func lookEvery(firstByte time.Duration) time.Duration {
	return min(max(firstByte/looksPerFirstByte, minLookEvery), maxLookEvery)
}

// firstByteWatch is the time of the looks on one worker, on the loop's clock.
type firstByteWatch struct {
	due int64 // the next look
	// awake is since when looks have come in time. Of a machine that stood still (a virtual one was moved, a process
	// stopped), the time it was away is no time that a backend had.
	awake int64
}

// watchFirstBytes takes a conn for its timer, if there is something to watch.
func (w *worker) watchFirstBytes() {
	if every := w.server.state.lookEvery(); every > 0 {
		index, c := w.takeConn()
		c.state = stateWatching
		w.firstBytes.awake = w.loop.Now()
		w.lookNext(index, every)
	}
}

func (w *worker) lookNext(index uint32, every time.Duration) {
	w.firstBytes.due = w.loop.Now() + int64(every)
	w.loop.SetTimer(index, w.firstBytes.due)
}

// look is made when the timer expires.
func (w *worker) look(index uint32) {
	now, every := w.loop.Now(), w.server.state.lookEvery()
	if now-w.firstBytes.due > int64(every+timerLate) {
		w.firstBytes.awake = now
	}
	w.blameSilent(now)
	w.lookNext(index, every)
}

// blameSilent tells the balancer of all connections that wait too long for their backend's first byte. They stay open. A
// connection that does not count this time may count at a later look.
func (w *worker) blameSilent(now int64) {
	for i := range w.connsEnd() {
		c := w.conn(i)
		if c.state != stateRelaying || c.flags&(flagAnswered|flagBlamed) != 0 || !c.silent(now-max(c.lastActive, w.firstBytes.awake)) {
			continue
		}
		pool := c.listener.Pool
		if c.backend.Ejected() || pool.Balancer.Silent(c.backend, balancer.Silence{
			Client: c.peer.Addr(), Asked: c.lastActive, Now: now, Once: pool.countOnce(),
		}) {
			c.flags |= flagBlamed
		}
	}
}

// silent reports whether the client has asked, and quiet, the time in which nothing has moved, is more than the pool
// allows. While the client still sends, the backend need not answer.
func (c *conn) silent(quiet int64) bool {
	limit := int64(c.listener.Pool.FirstByte)
	return limit > 0 && quiet >= limit && c.flow[client].bytes > 0 && c.flow[server].ended == flowOpen
}
