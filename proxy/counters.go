package proxy

import (
	"maps"
	"slices"
	"sync/atomic"
)

// A counter has one writer, so that counting needs no locked instruction. Any goroutine may read
// it.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }
func (c *counter) get() uint64  { return c.n.Load() }

// A ledger has the counters of all workers, by name: the counts of a listener or pool that a new
// State keeps carry on. It does not change; Apply replaces it.
type ledger struct {
	state     *State
	listeners map[string][]*listenerCounters // by worker
	pools     map[string][]*poolCounters     // by worker
	// removed are listeners that the State no longer has, and whose connections may still be open.
	removed []string
}

type listenerCounters struct {
	accepted counter
	adopted  counter // see Server.Adopt
	moved    counter // see Server.HandOver
	ended    [sides][reasons]counter
	bytes    [2]counter // by the end that sent them, of connections that have ended
}

type poolCounters struct {
	dials [reasons]counter // ReasonNone: answered
}

// newLedger returns the ledger for a State. It has the counters of the old one, if any, except for
// those of pools that are gone: nothing shows these.
func newLedger(state *State, workers int, old *ledger) *ledger {
	if old == nil {
		old = new(ledger)
	}
	l := &ledger{
		state:     state,
		listeners: make(map[string][]*listenerCounters),
		pools:     make(map[string][]*poolCounters),
	}
	for _, listener := range state.Listeners {
		keepOrMake(l.listeners, old.listeners, listener.Name, workers)
		keepOrMake(l.pools, old.pools, listener.Pool.Name, workers)
	}
	for name, of := range old.listeners {
		if l.listeners[name] == nil {
			l.listeners[name] = of
			l.removed = append(l.removed, name)
		}
	}
	slices.Sort(l.removed)
	return l
}

func keepOrMake[T any](all, old map[string][]*T, name string, workers int) {
	if all[name] != nil {
		return
	}
	if all[name] = old[name]; all[name] == nil {
		for range workers {
			all[name] = append(all[name], new(T))
		}
	}
}

// without returns a ledger without the removed listeners that have neither a connection nor one of
// the sockets inUse.
func (l *ledger) without(inUse map[string]bool) *ledger {
	next := *l
	next.listeners, next.removed = maps.Clone(l.listeners), nil
	for _, name := range l.removed {
		if of := l.sum(name); inUse[name] || of.open() {
			next.removed = append(next.removed, name)
			continue
		}
		delete(next.listeners, name)
	}
	return &next
}

// listenerCounters are those of this worker.
func (w *worker) listenerCounters(l *Listener) *listenerCounters {
	if of := w.server.ledger.Load().listeners[l.Name]; of != nil {
		return of[w.number]
	}
	return &w.uncounted.listener
}

// poolCounters are those of this worker. A dial that was in flight when its pool was removed counts
// nowhere.
func (w *worker) poolCounters(p *Pool) *poolCounters {
	if of := w.server.ledger.Load().pools[p.Name]; of != nil {
		return of[w.number]
	}
	return &w.uncounted.pool
}

// connEnded counts a connection or an arrival that has ended.
func (w *worker) connEnded(conn *conn) {
	l := w.listenerCounters(conn.listener)
	l.ended[conn.outcome.Side][conn.outcome.Reason].add(1)
	for end := range l.bytes {
		l.bytes[end].add(conn.flow[end].bytes)
	}
}

// Counts are sums over all event loops since the start, with those of earlier processes after an
// upgrade.
type Counts struct {
	// Listeners are in the order of the State. Those that Apply has removed follow, with only a
	// name, until their last connection has ended.
	Listeners []ListenerCounts
	Pools     []PoolCounts // in the order in which listeners use them
	// Orphans are connections that were taken over from another process, and whose listener no
	// State had.
	Orphans ListenerCounts
	Dropped uint64 // records that were lost because Options.Finished was slow
}

// ListenerCounts are the sums of one listener.
type ListenerCounts struct {
	Listener *Listener
	Accepted uint64 // with Adopted, never less than AllEnded and Moved
	Adopted  uint64 // taken over from another process, which has accepted them
	Moved    uint64 // handed over to another process
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

// open reports whether connections are left.
func (c *ListenerCounts) open() bool { return c.Accepted+c.Adopted > c.AllEnded()+c.Moved }

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
	ledger, carried := s.ledger.Load(), s.carried.Load()
	if carried != nil {
		counts.Dropped += carried.Dropped
	}
	pools := make(map[string]bool)
	for _, l := range ledger.state.Listeners {
		of := ledger.sum(l.Name)
		of.Listener = l
		carried.carry(&of, l.Name)
		counts.Listeners = append(counts.Listeners, of)
		if !pools[l.Pool.Name] {
			pools[l.Pool.Name] = true
			dials := ledger.poolCounts(l.Pool)
			carried.carryDials(&dials, l.Pool.Name)
			counts.Pools = append(counts.Pools, dials)
		}
	}
	for _, name := range ledger.removed {
		if of := ledger.sum(name); of.open() {
			of.Listener = &Listener{Name: name}
			carried.carry(&of, name)
			counts.Listeners = append(counts.Listeners, of)
		}
	}
	var orphans []*listenerCounters
	for _, w := range s.workers {
		orphans = append(orphans, &w.uncounted.listener)
	}
	counts.Orphans = sumUp(orphans)
	return counts
}

// sum sums up the counters of a listener.
func (l *ledger) sum(name string) ListenerCounts { return sumUp(l.listeners[name]) }

func sumUp(workers []*listenerCounters) (sum ListenerCounts) {
	for _, of := range workers {
		sum.Moved += of.moved.get()
		sum.BytesIn += of.bytes[clientEnd].get()
		sum.BytesOut += of.bytes[backendEnd].get()
		for side := range of.ended {
			for reason := range of.ended[side] {
				sum.ended[side][reason] += of.ended[side][reason].get()
			}
		}
	}
	for _, of := range workers { // after the ends: each client that has ended is then counted here
		sum.Accepted += of.accepted.get()
		sum.Adopted += of.adopted.get()
	}
	return sum
}

func (l *ledger) poolCounts(p *Pool) PoolCounts {
	sum := PoolCounts{Pool: p}
	for _, of := range l.pools[p.Name] {
		for result := range of.dials {
			sum.dials[result] += of.dials[result].get()
		}
	}
	return sum
}
