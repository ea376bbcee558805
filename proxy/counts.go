package proxy

import (
	"time"

	"l4proxy/bandwidth"
	"l4proxy/internal/histogram"
)

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
	Open     uint64 // clients of this process that have not ended
	BytesIn  uint64 // client to backend, with those of live connections
	BytesOut uint64 // backend to client
	// Rules are what the rules have done, in the order of the list, the default first, and then the
	// limits of each client.
	Rules []RuleCount
	// Tarpitted is how many clients are held in the tarpit now.
	Tarpitted uint64
	// Durations are from accept to close, of clients that were not denied.
	Durations histogram.Snapshot
	// Unrated are clients whose rate was not limited, because too many others had connected just
	// before; see [clientlimit.CountedUnrated].
	Unrated uint64
	// Those that the limits of each client have refused; among Denied.
	overConnections, overRate uint64
	ended                     [sides][reasons]uint64
	paused                    [pauses]uint64
	waits                     [bandwidth.Directions][bandwidth.Kinds]BandwidthWaits
}

// Ended is the number of connections that a side has ended for a reason.
func (c *ListenerCounts) Ended(side Side, reason Reason) uint64 { return c.ended[side][reason] }

// EachEnded calls f with each side and reason for which connections have ended, and their number.
func (c *ListenerCounts) EachEnded(f func(side Side, reason Reason, n uint64)) {
	for side := range c.ended {
		for reason, n := range c.ended[side] {
			if n > 0 {
				f(Side(side), Reason(reason), n)
			}
		}
	}
}

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

// EachPause calls f with each cause, and how often accepting was paused for it.
func (c *ListenerCounts) EachPause(f func(cause PauseCause, n uint64)) {
	for cause, n := range c.paused {
		f(PauseCause(cause), n)
	}
}

// BandwidthWaits are the waits of flows for one kind of limit.
func (c *ListenerCounts) BandwidthWaits(d bandwidth.Direction, k bandwidth.Kind) BandwidthWaits {
	return c.waits[d][k]
}

// WaitsOf are the waits for a limit.
type WaitsOf struct {
	Direction bandwidth.Direction
	Kind      bandwidth.Kind
	BandwidthWaits
}

// AllBandwidthWaits are the waits for each limit that is set, or for which flows have waited.
func (c *ListenerCounts) AllBandwidthWaits() (all []WaitsOf) {
	for d := range bandwidth.Directions {
		for k := range bandwidth.Kinds {
			if c.waits[d][k].N > 0 || c.Listener.Bandwidth.Rates[k][d] > 0 {
				all = append(all, WaitsOf{d, k, c.waits[d][k]})
			}
		}
	}
	return all
}

// PoolCounts are the sums of one pool.
type PoolCounts struct {
	Pool          *Pool
	Retries       uint64 // dials for clients whose dial before had failed
	Hedges        uint64 // second dials
	HedgesWon     uint64 // second dials that were answered first
	Pauses        uint64 // dials that waited for a descriptor
	Queued        uint64 // clients that had to wait
	QueueTimeouts uint64
	QueueRejected uint64 // clients that found the queue full
	Ejections     uint64 // of backends
	Backoffs      uint64 // of backends
	// DialTimes are the durations of answered dials, and Waits those of the waits in the queue that
	// ended with a backend.
	DialTimes, Waits histogram.Snapshot
	dials            [reasons]uint64
}

// Dials is the number of dials with a result; [ReasonNone] counts those that were answered.
func (c *PoolCounts) Dials(result Reason) uint64 { return c.dials[result] }

// AllDials is the number of all dials that have ended.
func (c *PoolCounts) AllDials() (n uint64) {
	for _, dials := range c.dials {
		n += dials
	}
	return n
}

// Counts sums up what the workers have counted.
func (s *Server) Counts() Counts {
	counts := Counts{Dropped: s.Dropped()}
	ledger, carried := s.ledger.Load(), s.carried.Load()
	if carried != nil {
		counts.Dropped += carried.Dropped
	}
	pools := make(map[string]bool)
	for _, l := range ledger.state.Listeners {
		of := sumUp(ledger.listeners[l.Name])
		of.Listener = l
		of.addLimited(l)
		carried.carry(&of, l.Name)
		counts.Listeners = append(counts.Listeners, of)
		for p := range l.pools() {
			if pools[p.Name] {
				continue
			}
			pools[p.Name] = true
			of := ledger.poolCounts(p)
			carried.carryPool(&of, p.Name)
			counts.Pools = append(counts.Pools, of)
		}
	}
	for _, name := range ledger.removed {
		if of := sumUp(ledger.listeners[name]); of.Open > 0 {
			of.Listener = &Listener{Name: name}
			of.addLimited(of.Listener)
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

// sumUp sums up the counters of a listener.
func sumUp(workers []*listenerCounters) (sum ListenerCounts) {
	histograms := make([]*histogram.Histogram, 0, len(workers))
	for _, of := range workers {
		sum.Moved += of.moved.get()
		sum.BytesIn += of.bytes[clientEnd].get()
		sum.BytesOut += of.bytes[backendEnd].get()
		for side := range of.ended {
			for reason := range of.ended[side] {
				sum.ended[side][reason] += of.ended[side][reason].get()
			}
		}
		for cause := range of.pauses {
			sum.paused[cause] += of.pauses[cause].get()
		}
		for d := range of.waits {
			for k := range of.waits[d] {
				sum.waits[d][k].add(BandwidthWaits{of.waits[d][k].n.get(), time.Duration(of.waits[d][k].ns.get())})
			}
		}
		sum.addRules(of.rules.Load())
		sum.Tarpitted += of.tarpit.n.get()
		if n := of.banned.get(); n > 0 {
			sum.addRule(len(sum.Rules), RuleCount{Rule: BanRule, Kind: RuleDeny, Hits: n})
		}
		sum.overConnections += of.overConnections.get()
		sum.overRate += of.overRate.get()
		sum.Unrated += of.unrated.get()
		histograms = append(histograms, &of.durations)
	}
	sum.Durations = histogram.Sum(durationBounds, histograms...)
	for _, of := range workers { // after the ends: each client that has ended is then counted here
		sum.Accepted += of.accepted.get()
		sum.Adopted += of.adopted.get()
	}
	sum.Open = sum.Accepted + sum.Adopted - sum.AllEnded() - sum.Moved
	return sum
}

func (l *ledger) poolCounts(p *Pool) PoolCounts {
	stats := p.Balancer.Stats()
	sum := PoolCounts{Pool: p, Ejections: stats.Ejections, Backoffs: stats.Backoffs}
	var dialTimes, waits []*histogram.Histogram
	for _, of := range l.pools[p.Name] {
		for result := range of.dials {
			sum.dials[result] += of.dials[result].get()
		}
		sum.Retries += of.retries.get()
		sum.Hedges += of.hedges.get()
		sum.HedgesWon += of.hedgesWon.get()
		sum.Pauses += of.pauses.get()
		sum.Queued += of.queued.get()
		sum.QueueTimeouts += of.queueTimeouts.get()
		sum.QueueRejected += of.rejected.get()
		dialTimes, waits = append(dialTimes, &of.dialTimes), append(waits, &of.waits)
	}
	sum.DialTimes = histogram.Sum(dialBounds, dialTimes...)
	sum.Waits = histogram.Sum(waitBounds, waits...)
	return sum
}
