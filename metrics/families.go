package metrics

import (
	"strconv"

	dto "github.com/prometheus/client_model/go"
)

// all makes all families.
func (b *builder) all(s *Snapshot) {
	b.process(s)
	b.config(s)
	b.listeners(s.Listeners)
	b.pools(s.Pools)
	b.backends(s.Pools)
	b.loops(s.Loops)
}

func (b *builder) process(s *Snapshot) {
	b.family(&buildInfo).add(1, b.label("go_version", s.GoVersion), b.label("revision", s.Revision), b.label("version", s.Version))
	b.family(&engineInfo).add(1, b.label("engine", s.Engine))
	b.single(&startTime, float64(s.Started.UnixMilli())/1e3)
	b.single(&ready, number(s.Ready))
	b.single(&openConnections, float64(s.Connections))
	b.single(&maxConnections, float64(s.MaxConnections))
	b.single(&orphans, float64(s.Orphans))
	b.single(&linesDropped, float64(s.LinesDropped))
	b.single(&recordsDropped, float64(s.RecordsDropped))
}

func (b *builder) config(s *Snapshot) {
	c := &s.Config
	b.single(&reloadOK, number(c.LastOK))
	b.single(&reloadTime, float64(c.Applied.UnixMilli())/1e3)
	b.single(&configGeneration, float64(c.Generation))
	b.counts(&reloads, "result", []Count{{"success", c.Succeeded}, {"failure", c.Failed}})
	b.single(&rollbacks, float64(c.Rollback))
	b.single(&unconfirmed, number(c.Unconfirmed))
	b.counts(&upgrades, "result", []Count{{"success", s.UpgradesOK}, {"failure", s.UpgradesFailed}})
	b.counts(&drains, "kind", []Count{{"listener", uint64(s.ListenerDrains)}, {"backend", uint64(s.BackendDrains)}})
	b.single(&bansActive, float64(s.Bans))
	b.single(&dnsLookups, float64(s.Lookups))
	b.single(&dnsFailures, float64(s.FailedLookups))
	b.single(&dnsFailing, float64(s.NamesFailing))
}

// counts is a family with one label.
func (b *builder) counts(d *desc, label string, all []Count) {
	f := b.family(d)
	for _, c := range all {
		f.add(float64(c.N), b.word(label, c.Word))
	}
}

func (b *builder) listeners(all []Listener) {
	accepted, active, closed := b.family(&connectionsTotal), b.family(&connectionsActive), b.family(&connectionsClosed)
	denied, bytes, paused := b.family(&connectionsDenied), b.family(&bytesTotal), b.family(&acceptPauses)
	clients, recent, unrated := b.family(&limitedClients), b.family(&recentClients), b.family(&unratedClients)
	waits, waited := b.family(&bandwidthWaits), b.family(&bandwidthWait)
	durations, open, limit := b.family(&connectionsDuration), b.family(&listenerOpen), b.family(&listenerLimit)
	hits, lastHit, tarpitted := b.family(&ruleHits), b.family(&ruleLastHit), b.family(&listenerTarpit)
	for i := range all {
		l := &all[i]
		name := b.label("listener", l.Name)
		accepted.add(float64(l.Accepted), name)
		active.add(float64(l.Active), name)
		for _, e := range l.Ended {
			closed.add(float64(e.N), name, b.word("reason", e.Reason), b.word("side", e.Side))
		}
		for _, c := range l.Denied {
			denied.add(float64(c.N), name, b.word("rule", c.Word))
		}
		for _, r := range l.Rules {
			labels := []*dto.LabelPair{b.word("kind", r.Kind), name, b.word("rule", r.Name)}
			hits.add(float64(r.Hits), labels...)
			if !r.LastHit.IsZero() {
				lastHit.add(float64(r.LastHit.UnixMilli())/1e3, labels...)
			}
		}
		tarpitted.add(float64(l.Tarpitted), name)
		bytes.add(float64(l.BytesIn), b.word("direction", "in"), name)
		bytes.add(float64(l.BytesOut), b.word("direction", "out"), name)
		for _, of := range l.BandwidthWaits {
			direction, kind := b.word("direction", of.Direction), b.word("limit", of.Limit)
			waits.add(float64(of.N), direction, kind, name)
			waited.add(of.Time.Seconds(), direction, kind, name)
		}
		for _, c := range l.Pauses {
			paused.add(float64(c.N), b.word("cause", c.Word), name)
		}
		durations.addHistogram(&l.Durations, name)
		if of := l.PerClient; of != nil {
			clients.add(float64(of.Clients), name)
			recent.add(float64(of.Recent), name)
			unrated.add(float64(of.Unrated), name)
		}
		if !l.Removed {
			open.add(number(l.Open), name)
			limit.add(float64(l.MaxConnections), name)
		}
	}
}

func (b *builder) pools(all []Pool) {
	states, dials, waits := b.family(&poolBackends), b.family(&dialDuration), b.family(&queueWait)
	for i := range all {
		p := &all[i]
		for _, c := range p.States {
			states.add(float64(c.N), b.label("pool", p.Name), b.word("state", c.Word))
		}
		dials.addHistogram(&p.DialTimes, b.label("pool", p.Name))
		waits.addHistogram(&p.Waits, b.label("pool", p.Name))
	}
	for _, value := range []struct {
		desc *desc
		of   func(*Pool) float64
	}{
		{&poolActive, func(p *Pool) float64 { return float64(p.Active) }},
		{&poolLimit, func(p *Pool) float64 { return float64(p.Limit) }},
		{&poolServing, func(p *Pool) float64 { return number(p.Serving) }},
		{&poolPanicking, func(p *Pool) float64 { return number(p.Panicking) }},
		{&poolRetries, func(p *Pool) float64 { return float64(p.Retries) }},
		{&poolHedges, func(p *Pool) float64 { return float64(p.Hedges) }},
		{&poolHedgesWon, func(p *Pool) float64 { return float64(p.HedgesWon) }},
		{&poolEjections, func(p *Pool) float64 { return float64(p.Ejections) }},
		{&poolBackoffs, func(p *Pool) float64 { return float64(p.Backoffs) }},
		{&poolPauses, func(p *Pool) float64 { return float64(p.Pauses) }},
		{&queueWaiting, func(p *Pool) float64 { return float64(p.Waiting) }},
		{&queueEntered, func(p *Pool) float64 { return float64(p.Queued) }},
		{&queueTimeouts, func(p *Pool) float64 { return float64(p.QueueTimeouts) }},
		{&queueRejected, func(p *Pool) float64 { return float64(p.QueueRejected) }},
	} {
		f := b.family(value.desc)
		for i := range all {
			f.add(value.of(&all[i]), b.label("pool", all[i].Name))
		}
	}
}

func (b *builder) backends(pools []Pool) {
	active, up, drained, dials := b.family(&backendActive), b.family(&backendUp), b.family(&backendDrain), b.family(&backendDials)
	ok := b.word("result", "ok")
	for i := range pools {
		p := &pools[i]
		pool := b.label("pool", p.Name)
		for j := range p.Backends {
			of := &p.Backends[j]
			labels := []*dto.LabelPair{b.label("backend", of.Address), pool, ok}
			active.add(float64(of.Active), labels[:2:2]...)
			up.add(number(of.Up), labels[:2:2]...)
			drained.add(number(of.Drained), labels[:2:2]...)
			dials.add(float64(of.DialsOK), labels...)
			for _, c := range of.FailedDials {
				dials.add(float64(c.N), labels[0], pool, b.word("result", c.Word))
			}
		}
	}
}

func (b *builder) loops(all []Loop) {
	busy, delay, connections := b.family(&loopBusy), b.family(&loopDelay), b.family(&loopConnections)
	for i := range all {
		loop := b.label("loop", strconv.Itoa(i))
		busy.add(all[i].Busy.Seconds(), loop)
		if all[i].DelayKnown {
			delay.add(all[i].Delay.Seconds(), loop)
		}
		connections.add(float64(all[i].Connections), loop)
	}
}
