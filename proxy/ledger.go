package proxy

import (
	"maps"
	"slices"

	"l4proxy/bandwidth"
)

// A ledger has the counters of all workers, by name: the counts of a listener or pool that a new
// State keeps carry on. It does not change; Apply replaces it.
type ledger struct {
	state     *State
	listeners map[string][]*listenerCounters // by worker
	pools     map[string][]*poolCounters     // by worker
	// removed are listeners that the State no longer has, and whose connections may still be open.
	removed []string
}

// newLedger returns the ledger for a State. It has the counters of the old one, if any, except for
// those of pools that are gone: nothing shows these. From now on, the counters of a listener count
// by the rules of the State.
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
		for p := range listener.pools() {
			keepOrMake(l.pools, old.pools, p.Name, workers)
		}
		setLimits(l.listeners[listener.Name], listener.Bandwidth)
		for _, of := range l.listeners[listener.Name] {
			of.rules.Store(newRuleCounters(listener.ACL, of.rules.Load()))
		}
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

// keepBook replaces the ledger. s.mu is held.
func (s *Server) keepBook(next *ledger) {
	old := s.ledger.Swap(next)
	if carried := s.carried.Load(); carried != nil {
		s.carried.CompareAndSwap(carried, carried.without(old, next)) // CarryOn may come first
	}
}

// setLimits changes the limits of bandwidth of a listener, which all workers share. They stay with
// its counters: of a listener that was removed, they still apply to its connections.
func setLimits(workers []*listenerCounters, s bandwidth.Settings) {
	limits := workers[0].limits.Load()
	if limits == nil {
		if !s.Any() {
			return
		}
		limits = bandwidth.NewLimits()
	}
	limits.Set(s)
	for _, of := range workers {
		of.limits.Store(limits)
	}
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
		if of := sumUp(l.listeners[name]); inUse[name] || of.Open > 0 {
			next.removed = append(next.removed, name)
			continue
		}
		delete(next.listeners, name)
	}
	return &next
}
