package proxy

import (
	"time"
)

// A backend that hangs says nothing, and nothing happens on its connections: no completion tells of it. A worker
// therefore looks over its connections from time to time, when a pool wants to know (Pool.FirstByte).
const (
	// looksPerFirstByte is how often it does in the time that a backend has: so much later, at most, is it found out.
	looksPerFirstByte = 8
	// A look takes a few ns a connection (BenchmarkFirstByteLook), and the loop does nothing else meanwhile.
	minLookEvery = 10 * time.Millisecond
	maxLookEvery = time.Second
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
	return min(max(least/looksPerFirstByte, minLookEvery), maxLookEvery)
}

// watchFirstBytes takes a conn for its timer, if there is something to watch.
func (w *worker) watchFirstBytes() {
	if every := w.server.state.lookEvery(); every > 0 {
		index, c := w.takeConn()
		c.state = stateWatching
		w.loop.SetTimer(index, w.loop.Now()+int64(every))
	}
}

// look is made when the timer expires.
func (w *worker) look(index uint32) {
	now := w.loop.Now()
	w.blameSilent(now)
	w.loop.SetTimer(index, now+int64(w.server.state.lookEvery()))
}

// blameSilent tells the balancer of all connections that wait for too long for their backend's first byte. They go on.
func (w *worker) blameSilent(now int64) {
	for i := range w.connsEnd() {
		if c := w.conn(i); c.state == stateRelaying && c.flags&(flagAnswered|flagBlamed) == 0 && c.silent(now) {
			c.flags |= flagBlamed
			c.listener.Pool.Balancer.Silent(c.backend, now)
		}
	}
}

// silent reports whether the client has asked, and nothing has moved since then for as long as the pool allows. While
// the client still sends, the backend need not answer.
func (c *conn) silent(now int64) bool {
	limit := int64(c.listener.Pool.FirstByte)
	return limit > 0 && c.flow[client].bytes > 0 && c.flow[server].ended == flowOpen && now-c.lastActive >= limit
}
