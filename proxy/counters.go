package proxy

import "sync/atomic"

// A counter has one writer, so that counting needs no locked instruction. Any goroutine may read
// it.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }
func (c *counter) get() uint64  { return c.n.Load() }

// counters are what one worker counts, whether or not connections are logged.
type counters struct {
	listeners map[*Listener]*listenerCounters
	pools     map[*Pool]*poolCounters
}

type listenerCounters struct {
	accepted counter
	ended    [sides][reasons]counter
	bytes    [2]counter // by the end that sent them, of connections that have ended
}

type poolCounters struct {
	dials [reasons]counter // ReasonNone: answered
}

func newCounters(s *State) counters {
	c := counters{make(map[*Listener]*listenerCounters), make(map[*Pool]*poolCounters)}
	for _, l := range s.Listeners {
		c.listeners[l] = new(listenerCounters)
		if c.pools[l.Pool] == nil {
			c.pools[l.Pool] = new(poolCounters)
		}
	}
	return c
}

// connEnded counts a connection or an arrival that has ended.
func (c *counters) connEnded(conn *conn) {
	l := c.listeners[conn.listener]
	l.ended[conn.outcome.Side][conn.outcome.Reason].add(1)
	for end := range l.bytes {
		l.bytes[end].add(conn.flow[end].bytes)
	}
}

// Counts are sums over all event loops since the start.
type Counts struct {
	Listeners []ListenerCounts // in the order of the State
	Pools     []PoolCounts     // in the order in which listeners use them
	Dropped   uint64           // records that were lost because Options.Finished was slow
}

// ListenerCounts are the sums of one listener.
type ListenerCounts struct {
	Listener *Listener
	Accepted uint64 // never less than AllEnded
	BytesIn  uint64 // client to backend, of connections that have ended
	BytesOut uint64 // backend to client
	ended    [sides][reasons]uint64
}

// Ended is the number of connections that a side has ended for a reason.
func (c *ListenerCounts) Ended(side Side, reason Reason) uint64 { return c.ended[side][reason] }

// AllEnded is the number of connections that have ended.
func (c *ListenerCounts) AllEnded() uint64 {
	n := uint64(0)
	for _, reasons := range c.ended {
		for _, ended := range reasons {
			n += ended
		}
	}
	return n
}

// PoolCounts are the sums of one pool.
type PoolCounts struct {
	Pool  *Pool
	dials [reasons]uint64
}

// Dials is the number of dials with a result; [ReasonNone] counts those that were answered.
func (c *PoolCounts) Dials(result Reason) uint64 { return c.dials[result] }

// Counts sums up what the workers have counted.
func (s *Server) Counts() Counts {
	counts := Counts{Dropped: s.Dropped()}
	pools := make(map[*Pool]bool)
	for _, l := range s.state.Listeners {
		sum := ListenerCounts{Listener: l}
		for _, w := range s.workers {
			of := w.counters.listeners[l]
			sum.BytesIn += of.bytes[clientEnd].get()
			sum.BytesOut += of.bytes[backendEnd].get()
			for side := range of.ended {
				for reason := range of.ended[side] {
					sum.ended[side][reason] += of.ended[side][reason].get()
				}
			}
		}
		for _, w := range s.workers { // after the ends: each client that has ended is then counted here
			sum.Accepted += w.counters.listeners[l].accepted.get()
		}
		counts.Listeners = append(counts.Listeners, sum)
		if !pools[l.Pool] {
			pools[l.Pool] = true
			counts.Pools = append(counts.Pools, s.poolCounts(l.Pool))
		}
	}
	return counts
}

func (s *Server) poolCounts(p *Pool) PoolCounts {
	sum := PoolCounts{Pool: p}
	for _, w := range s.workers {
		of := w.counters.pools[p]
		for result := range of.dials {
			sum.dials[result] += of.dials[result].get()
		}
	}
	return sum
}
