package proxy

import (
	"maps"
	"slices"
)

// Totals are the counts of a Server by name, for the process that takes over its connections: what
// has been counted carries on there.
type Totals struct {
	Listeners map[string]ListenerTotals    `json:"listeners,omitempty"`
	Pools     map[string]map[string]uint64 `json:"pools,omitempty"` // dials by result
	Dropped   uint64                       `json:"dropped,omitempty"`
}

// ListenerTotals are the sums of one listener. Connections that have moved are among Accepted, and
// end elsewhere.
type ListenerTotals struct {
	Accepted uint64                       `json:"accepted"`
	BytesIn  uint64                       `json:"bytes_in"`
	BytesOut uint64                       `json:"bytes_out"`
	Ended    map[string]map[string]uint64 `json:"ended,omitempty"` // by side and reason
}

// Totals returns what has been counted, with what was carried over from the old process.
func (s *Server) Totals() Totals {
	counts := s.Counts()
	t := Totals{
		Listeners: make(map[string]ListenerTotals),
		Pools:     make(map[string]map[string]uint64),
		Dropped:   counts.Dropped,
	}
	if carried := s.carried.Load(); carried != nil { // including names that are no longer in the State
		maps.Copy(t.Listeners, carried.Listeners)
		maps.Copy(t.Pools, carried.Pools)
	}
	for i := range counts.Listeners {
		l := &counts.Listeners[i]
		t.Listeners[l.Listener.Name] = l.totals()
	}
	for _, p := range counts.Pools {
		dials := make(map[string]uint64)
		for reason, n := range p.dials {
			if n > 0 {
				dials[reasonNames[reason]] = n
			}
		}
		t.Pools[p.Pool.Name] = dials
	}
	return t
}

func (c *ListenerCounts) totals() ListenerTotals {
	t := ListenerTotals{
		Accepted: c.Accepted, BytesIn: c.BytesIn, BytesOut: c.BytesOut, Ended: make(map[string]map[string]uint64),
	}
	for side := range c.ended {
		for reason, n := range c.ended[side] {
			if n == 0 {
				continue
			}
			if t.Ended[sideNames[side]] == nil {
				t.Ended[sideNames[side]] = make(map[string]uint64)
			}
			t.Ended[sideNames[side]][reasonNames[reason]] = n
		}
	}
	return t
}

// CarryOn adds the totals of the old process to all counts from now on, in place of those given
// before. Call it once that process has handed over, and again with its last totals: they only
// grow.
func (s *Server) CarryOn(t Totals) { s.carried.Store(&t) }

// carry adds what was carried on to the counts of a listener.
func (t *Totals) carry(c *ListenerCounts, name string) {
	if t == nil {
		return
	}
	of := t.Listeners[name]
	c.Accepted += of.Accepted
	c.BytesIn += of.BytesIn
	c.BytesOut += of.BytesOut
	for side, reasons := range of.Ended {
		at := slices.Index(sideNames[:], side)
		for reason, n := range reasons {
			if at >= 0 {
				c.ended[at][reasonNamed(reason)] += n
			}
		}
	}
}

// carryDials adds what was carried on to the counts of a pool.
func (t *Totals) carryDials(c *PoolCounts, name string) {
	if t == nil {
		return
	}
	for result, n := range t.Pools[name] {
		if result == reasonNames[ReasonNone] {
			c.dials[ReasonNone] += n
			continue
		}
		c.dials[reasonNamed(result)] += n
	}
}
