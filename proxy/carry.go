package proxy

import (
	"maps"
	"slices"
	"time"

	"l4proxy/acl"
	"l4proxy/bandwidth"
	"l4proxy/internal/histogram"
)

// Totals are the counts of a Server by name, for the process that takes over its connections: what
// has been counted carries on there. Their JSON form is part of the hand-over format
// (docs/handover.md): fields are added, never renamed.
type Totals struct {
	Listeners map[string]ListenerTotals    `json:"listeners,omitempty"`
	Pools     map[string]map[string]uint64 `json:"pools,omitempty"` // dials by result
	More      map[string]PoolTotals        `json:"more,omitempty"`  // of pools
	Dropped   uint64                       `json:"dropped,omitempty"`
}

// ListenerTotals are the sums of one listener. Connections that have moved are among Accepted, and
// end elsewhere; their bytes up to then are among these.
type ListenerTotals struct {
	Accepted uint64                       `json:"accepted"`
	BytesIn  uint64                       `json:"bytes_in"`
	BytesOut uint64                       `json:"bytes_out"`
	Ended    map[string]map[string]uint64 `json:"ended,omitempty"`  // by side and reason
	Denied   map[string]uint64            `json:"denied,omitempty"` // by rule
	Rules    []RuleTotals                 `json:"rules,omitempty"`  // of the access control list
	Paused   map[string]uint64            `json:"paused,omitempty"` // by cause
	// Waits for limits of bandwidth, by direction and what the limit applies to.
	Waits     map[string]map[string]BandwidthWaits `json:"bandwidth_waits,omitempty"`
	Durations *histogram.Snapshot                  `json:"durations,omitempty"`
	Unrated   uint64                               `json:"unrated,omitempty"`
}

// RuleTotals is a [RuleCount] by names. Hits is 0 for a rule that denies: see Denied.
type RuleTotals struct {
	Rule string        `json:"rule"`
	Kind string        `json:"kind"`
	Hits uint64        `json:"hits,omitempty"`
	Last time.Duration `json:"last,omitempty"` // CLOCK_MONOTONIC
}

// PoolTotals are the sums of one pool, besides its dials.
type PoolTotals struct {
	Retries       uint64              `json:"retries,omitempty"`
	Hedges        uint64              `json:"hedges,omitempty"`
	HedgesWon     uint64              `json:"hedges_won,omitempty"`
	Pauses        uint64              `json:"pauses,omitempty"`
	Queued        uint64              `json:"queued,omitempty"`
	QueueTimeouts uint64              `json:"queue_timeouts,omitempty"`
	QueueRejected uint64              `json:"queue_rejected,omitempty"`
	Ejections     uint64              `json:"ejections,omitempty"`
	Backoffs      uint64              `json:"backoffs,omitempty"`
	DialTimes     *histogram.Snapshot `json:"dial_times,omitempty"`
	Waits         *histogram.Snapshot `json:"waits,omitempty"`
}

// Totals returns what has been counted, with what was carried over from the old process.
func (s *Server) Totals() Totals {
	counts := s.Counts()
	t := Totals{
		Listeners: make(map[string]ListenerTotals),
		Pools:     make(map[string]map[string]uint64),
		More:      make(map[string]PoolTotals),
		Dropped:   counts.Dropped,
	}
	if carried := s.carried.Load(); carried != nil { // including names that are no longer in the State
		maps.Copy(t.Listeners, carried.Listeners)
		maps.Copy(t.Pools, carried.Pools)
		maps.Copy(t.More, carried.More)
	}
	for i := range counts.Listeners {
		l := &counts.Listeners[i]
		t.Listeners[l.Listener.Name] = l.totals()
	}
	for i := range counts.Pools {
		p := &counts.Pools[i]
		dials := make(map[string]uint64)
		for reason, n := range p.dials {
			if n > 0 {
				dials[reasonNames[reason]] = n
			}
		}
		t.Pools[p.Pool.Name], t.More[p.Pool.Name] = dials, p.totals()
	}
	return t
}

func (c *ListenerCounts) totals() ListenerTotals {
	t := ListenerTotals{
		Accepted: c.Accepted, BytesIn: c.BytesIn, BytesOut: c.BytesOut, Ended: make(map[string]map[string]uint64),
		Denied: make(map[string]uint64), Paused: make(map[string]uint64), Durations: &c.Durations,
		Unrated: c.Unrated,
	}
	c.EachEnded(func(side Side, reason Reason, n uint64) {
		if t.Ended[side.String()] == nil {
			t.Ended[side.String()] = make(map[string]uint64)
		}
		t.Ended[side.String()][reason.String()] = n
	})
	for _, r := range c.Rules {
		if r.Hits == 0 {
			continue
		}
		of := RuleTotals{Rule: r.Rule, Kind: r.Kind.String(), Last: r.Last}
		if r.Kind == RuleDeny {
			t.Denied[r.Rule] = r.Hits
		} else {
			of.Hits = r.Hits
		}
		t.Rules = append(t.Rules, of)
	}
	c.EachPause(func(cause PauseCause, n uint64) {
		if n > 0 {
			t.Paused[cause.String()] = n
		}
	})
	for d := range c.waits {
		of := make(map[string]BandwidthWaits)
		for k, waits := range c.waits[d] {
			if waits.N > 0 {
				of[bandwidth.Kind(k).String()] = waits
			}
		}
		if len(of) > 0 {
			if t.Waits == nil {
				t.Waits = make(map[string]map[string]BandwidthWaits)
			}
			t.Waits[bandwidth.Direction(d).String()] = of
		}
	}
	return t
}

func (c *PoolCounts) totals() PoolTotals {
	return PoolTotals{
		Retries: c.Retries, Hedges: c.Hedges, HedgesWon: c.HedgesWon, Pauses: c.Pauses,
		Queued: c.Queued, QueueTimeouts: c.QueueTimeouts, QueueRejected: c.QueueRejected,
		Ejections: c.Ejections, Backoffs: c.Backoffs, DialTimes: &c.DialTimes, Waits: &c.Waits,
	}
}

// CarryOn adds the totals of the old process to all counts from now on, in place of those given
// before. Call it with its totals before this process serves, and again with its last totals once
// it has handed over: they only grow, and so does each sum.
func (s *Server) CarryOn(t Totals) { s.carried.Store(&t) }

// without returns the totals without those of names that only the old ledger has. If such a name
// comes back, its counts begin at 0 again, as they do without an upgrade.
func (t *Totals) without(old, next *ledger) *Totals {
	kept := &Totals{
		Listeners: maps.Clone(t.Listeners), Pools: maps.Clone(t.Pools), More: maps.Clone(t.More), Dropped: t.Dropped,
	}
	for name := range old.listeners {
		if next.listeners[name] == nil {
			delete(kept.Listeners, name)
		}
	}
	for name := range old.pools {
		if next.pools[name] == nil {
			delete(kept.Pools, name)
			delete(kept.More, name)
		}
	}
	for _, l := range old.state.Listeners {
		to := slices.IndexFunc(next.state.Listeners, func(n *Listener) bool { return n.Name == l.Name })
		of, known := kept.Listeners[l.Name]
		if to < 0 || !known {
			continue
		}
		of.Denied, of.Rules = maps.Clone(of.Denied), slices.Clone(of.Rules)
		for _, d := range l.ACL.Decisions() {
			kind := kindOf(d)
			if hasRule(next.state.Listeners[to].ACL, d.Name, kind) {
				continue
			}
			if kind == RuleDeny {
				delete(of.Denied, d.Name)
			}
			of.Rules = slices.DeleteFunc(of.Rules, func(r RuleTotals) bool { return r.is(d.Name, kind) })
		}
		kept.Listeners[l.Name] = of
	}
	return kept
}

// hasRule reports whether a list has a rule of that name and kind.
func hasRule(list *acl.List, rule string, kind RuleKind) bool {
	return slices.ContainsFunc(list.Decisions(), func(d acl.Decision) bool { return d.Name == rule && kindOf(d) == kind })
}

func (t RuleTotals) is(rule string, kind RuleKind) bool {
	return t.Rule == rule && t.Kind == kind.String()
}

// carryRule adds what was carried on to the count of a rule.
func (t *ListenerTotals) carryRule(c *RuleCount) {
	if c.Kind == RuleDeny {
		c.Hits += t.Denied[c.Rule]
	}
	for _, of := range t.Rules {
		if of.is(c.Rule, c.Kind) {
			c.Hits += of.Hits
			c.Last = max(c.Last, of.Last)
		}
	}
}

// carry adds what was carried on to the counts of a listener. Rules that the list no longer has are
// left out.
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
	if of.Denied[BanRule] > 0 {
		c.addRule(len(c.Rules), RuleCount{Rule: BanRule, Kind: RuleDeny})
	}
	for i := range c.Rules {
		of.carryRule(&c.Rules[i])
	}
	for cause := range c.paused {
		c.paused[cause] += of.Paused[pauseNames[cause]]
	}
	for d := range c.waits {
		for k := range c.waits[d] {
			c.waits[d][k].add(of.Waits[bandwidth.Direction(d).String()][bandwidth.Kind(k).String()])
		}
	}
	c.Durations.Add(of.Durations)
	c.Unrated += of.Unrated
}

// carryPool adds what was carried on to the counts of a pool.
func (t *Totals) carryPool(c *PoolCounts, name string) {
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
	more := t.More[name]
	c.Retries += more.Retries
	c.Hedges += more.Hedges
	c.HedgesWon += more.HedgesWon
	c.Pauses += more.Pauses
	c.Queued += more.Queued
	c.QueueTimeouts += more.QueueTimeouts
	c.QueueRejected += more.QueueRejected
	c.Ejections += more.Ejections
	c.Backoffs += more.Backoffs
	c.DialTimes.Add(more.DialTimes)
	c.Waits.Add(more.Waits)
}
