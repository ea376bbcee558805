package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"l4proxy/admin"
	"l4proxy/internal/histogram"
	"l4proxy/proxy"
)

// statsMemory is what the Stats before leave for the next ones: shares and quantiles are those of
// the time between two.
type statsMemory struct {
	mu    sync.Mutex
	at    time.Time // zero before the first
	cpu   []time.Duration
	dials map[string]histogram.Snapshot // by pool
}

// stats returns the counts of the process at this moment. One caller at a time is served, because
// Busy and the quantiles are about the time since the call before with m. No event loop is asked.
func (p *process) stats(m *statsMemory) admin.Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := p.server.Counts()
	s := admin.Stats{
		Time: time.Now(), Connections: p.server.Connections(), MaxConnections: p.server.MaxConnections(),
		Listeners: []admin.ListenerStats{},
	}
	for i := range counts.Listeners {
		if c := &counts.Listeners[i]; c.Listener.Slots != nil { // else it was removed
			s.Listeners = append(s.Listeners, listenerStats(c))
		}
	}
	s.Pools = p.poolStats(m, counts.Pools)
	s.Busy = m.busy(s.Time, p.server.LoopUsages())
	m.at = s.Time
	return s
}

// sampleStats are the stats for the sampler, adminStats those for clients that ask: they do not
// shorten the time that a sample is about.
func (p *process) sampleStats() admin.Stats { return p.stats(&p.sampled) }

func (p *process) adminStats(context.Context) (*admin.Stats, error) {
	return new(p.stats(&p.asked)), nil
}

func listenerStats(c *proxy.ListenerCounts) admin.ListenerStats {
	s := admin.ListenerStats{
		Name: c.Listener.Name, Connections: max(c.Listener.Slots.Used(), 0), Accepted: c.Accepted,
		BytesIn: c.BytesIn, BytesOut: c.BytesOut, Denied: c.Denied(),
	}
	c.EachEnded(func(_ proxy.Side, reason proxy.Reason, n uint64) {
		if levelOf(reason) == slog.LevelWarn {
			s.Failed += n
		}
	})
	return s
}

func (p *process) poolStats(m *statsMemory, counts []proxy.PoolCounts) []admin.PoolStats {
	byName := make(map[string]*proxy.PoolCounts, len(counts))
	for i := range counts {
		byName[counts[i].Pool.Name] = &counts[i]
	}
	all := []admin.PoolStats{}
	dials := make(map[string]histogram.Snapshot, len(counts))
	for _, v := range p.live.PoolViews() {
		stats := v.Balancer.Stats()
		s := admin.PoolStats{
			Name: v.Name, Queued: stats.Waiting, Serving: v.CanServe, Usable: stats.Usable, Backends: len(v.Members),
		}
		for i := range v.Members {
			s.Connections += v.Members[i].Active()
		}
		if c := byName[v.Name]; c != nil {
			s.Dials = c.AllDials()
			s.FailedDials = s.Dials - c.Dials(proxy.ReasonNone)
			if before, ok := m.dials[v.Name]; ok {
				recent := c.DialTimes.Since(&before)
				s.DialP50, s.DialP99 = recent.Quantile(0.5), recent.Quantile(0.99)
			}
			dials[v.Name] = c.DialTimes
		}
		all = append(all, s)
	}
	m.dials = dials
	return all
}

// busy is the share of the time since the Stats before that each loop has worked; 0 in the first
// ones.
func (m *statsMemory) busy(now time.Time, usages []proxy.LoopUsage) []float64 {
	busy := make([]float64, len(usages))
	cpu := make([]time.Duration, len(usages))
	for i, u := range usages {
		cpu[i] = u.CPU
		if passed := now.Sub(m.at); i < len(m.cpu) && u.CPU >= 0 && m.cpu[i] >= 0 && passed > 0 {
			busy[i] = min(max(float64(u.CPU-m.cpu[i])/float64(passed), 0), 1)
		}
	}
	m.cpu = cpu
	return busy
}
