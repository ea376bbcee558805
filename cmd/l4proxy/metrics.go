package main

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"l4proxy/admin"
	"l4proxy/backend"
	"l4proxy/control"
	"l4proxy/metrics"
	"l4proxy/proxy"
)

// scrapePatience is how long a scrape waits for the end of an upgrade, which usually takes less
// than a second. Prometheus waits for 10s.
const scrapePatience = 5 * time.Second

// metricsHandler serves the metrics, except between two processes: no count may go back, which
// Prometheus would take for a restart and add once more.
func (p *process) metricsHandler() http.Handler {
	next := metrics.Handler(metricsSource{p}, p.log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.upgrades.settled(r.Context(), scrapePatience) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "an upgrade is under way, or another process serves now: try again", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// metricsSource is a process as the metrics show it. What it reads, loops write as plain integers;
// it asks no loop, and takes no lock that a loop would wait for.
type metricsSource struct{ p *process }

// Snapshot implements [metrics.Source].
func (m metricsSource) Snapshot() *metrics.Snapshot {
	p := m.p
	counts := p.server.Counts()
	names := p.live.Directory.Counts()
	upgrades := p.upgrades.counted()
	s := &metrics.Snapshot{
		Version: version, Revision: strings.TrimPrefix(revision(), "revision "), GoVersion: runtime.Version(),
		Engine: p.server.Engine(), Started: p.began, Ready: adminView{p}.NotReady() == "",
		Connections: p.server.Connections(), MaxConnections: p.server.MaxConnections(), Orphans: counts.Orphans.Open,
		LinesDropped: p.logger.Dropped(), RecordsDropped: counts.Dropped,
		Config:     p.configMetrics(),
		UpgradesOK: upgrades.Succeeded, UpgradesFailed: upgrades.Failed,
		Lookups: names.Lookups, FailedLookups: names.Failed, NamesFailing: names.Failing,
		Bans: p.bans.Len(),
	}
	drained := make(map[string]bool)
	for _, d := range p.live.Drains() {
		if d.Listener != "" {
			drained[d.Listener] = true
			s.ListenerDrains++
		} else {
			s.BackendDrains++
		}
	}
	s.Listeners = p.listenerMetrics(counts.Listeners, drained)
	s.Pools = p.poolMetrics(counts.Pools)
	for _, u := range p.server.LoopUsages() {
		s.Loops = append(s.Loops, metrics.Loop{
			Busy: max(u.CPU, 0), Delay: max(u.Delay, 0), DelayKnown: u.Delay >= 0, Connections: u.Connections,
		})
	}
	return s
}

func (p *process) configMetrics() metrics.Config {
	if p.reloader == nil { // a demo does not reload
		return metrics.Config{LastOK: true, Applied: p.began, Generation: 1}
	}
	s := p.reloader.Status()
	return metrics.Config{
		LastOK: s.LastOK, Applied: s.AppliedAt, Generation: s.Generation,
		Succeeded: s.Counts.Succeeded, Failed: s.Counts.Failed, Rollback: s.Counts.Rollbacks,
		Unconfirmed: s.Unconfirmed != nil,
	}
}

func (p *process) listenerMetrics(counts []proxy.ListenerCounts, drained map[string]bool) []metrics.Listener {
	live := make(map[string]control.ListenerInfo)
	for _, l := range p.live.Listeners() {
		live[l.Name] = l
	}
	accepting := p.drainer.ready()
	all := make([]metrics.Listener, 0, len(counts))
	for i := range counts {
		c := &counts[i]
		l := metrics.Listener{
			Name: c.Listener.Name, Active: int64(c.Open), Accepted: c.Accepted, BytesIn: c.BytesIn, BytesOut: c.BytesOut,
			Durations: c.Durations, Tarpitted: c.Tarpitted,
		}
		if info, ok := live[l.Name]; ok {
			l.Open = accepting && !info.Closed && !drained[l.Name]
			l.Active, l.MaxConnections = max(info.Slots.Used(), 0), info.Slots.Limit()
			if of := info.Clients; of != nil {
				l.PerClient = &metrics.PerClient{Clients: of.Clients(), Recent: int64(of.Recent(p.live.Now())), Unrated: c.Unrated}
			}
		} else {
			l.Removed = true
		}
		c.EachEnded(func(side proxy.Side, reason proxy.Reason, n uint64) {
			l.Ended = append(l.Ended, metrics.Ended{Side: side.String(), Reason: reason.String(), N: n})
		})
		for _, r := range c.Rules {
			if r.Kind == proxy.RuleDeny {
				l.Denied = append(l.Denied, metrics.Count{Word: r.Rule, N: r.Hits})
			}
			l.Rules = append(l.Rules, metrics.Rule{Name: r.Rule, Kind: r.Kind.String(), Hits: r.Hits, LastHit: p.live.Clock(int64(r.Last))})
		}
		for _, waits := range c.AllBandwidthWaits() {
			l.BandwidthWaits = append(l.BandwidthWaits, metrics.Waits{
				Direction: waits.Direction.String(), Limit: waits.Kind.String(), N: waits.N, Time: waits.Time,
			})
		}
		c.EachPause(func(cause proxy.PauseCause, n uint64) {
			l.Pauses = append(l.Pauses, metrics.Count{Word: cause.String(), N: n})
		})
		all = append(all, l)
	}
	return all
}

func (p *process) poolMetrics(counts []proxy.PoolCounts) []metrics.Pool {
	byName := make(map[string]*proxy.PoolCounts, len(counts))
	for i := range counts {
		byName[counts[i].Pool.Name] = &counts[i]
	}
	views := p.live.PoolViews()
	all := make([]metrics.Pool, 0, len(views))
	for _, v := range views {
		stats := v.Balancer.Stats()
		pool := metrics.Pool{Name: v.Name, Active: stats.Connections, Limit: stats.Limit, Serving: v.CanServe, Panicking: stats.Panicking, Waiting: stats.Waiting}
		pool.States, pool.Backends = backendMetrics(&v)
		if c := byName[v.Name]; c != nil { // a pool without a listener dials no backend
			pool.Retries, pool.Hedges, pool.HedgesWon, pool.Pauses = c.Retries, c.Hedges, c.HedgesWon, c.Pauses
			pool.Ejections, pool.Backoffs = c.Ejections, c.Backoffs
			pool.Queued, pool.QueueTimeouts, pool.QueueRejected = c.Queued, c.QueueTimeouts, c.QueueRejected
			pool.DialTimes, pool.Waits = c.DialTimes, c.Waits
		}
		all = append(all, pool)
	}
	return all
}

// backendStates are the states of backends, for those that no backend is in.
var backendStates = []string{
	admin.BackendUp, admin.BackendUnknown, admin.BackendDown, admin.BackendDrain, admin.BackendBackoff, admin.BackendEjected,
}

func backendMetrics(v *control.PoolView) (states []metrics.Count, all []metrics.Backend) {
	in := make(map[string]uint64, len(backendStates))
	all = make([]metrics.Backend, 0, len(v.Members))
	for i := range v.Members {
		b := v.Members[i].Backend
		state := backendState(b)
		in[state]++
		ok, _ := b.Dials()
		m := metrics.Backend{
			Address: b.Address, Up: state == admin.BackendUp || state == admin.BackendUnknown,
			Drained: b.Admin() != backend.AdminUp, Active: b.Active(), DialsOK: ok,
		}
		b.FailedDials(func(why backend.DialFailure, n uint64) {
			m.FailedDials = append(m.FailedDials, metrics.Count{Word: why.String(), N: n})
		})
		all = append(all, m)
	}
	for _, state := range backendStates {
		states = append(states, metrics.Count{Word: state, N: in[state]})
	}
	return states, all
}
