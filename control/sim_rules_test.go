package control

import (
	"fmt"
	"math"
	"slices"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// simRule is what must hold in a simulation.
type simRule string

const (
	ruleCount    simRule = "1: each connection and each attempt is counted, up to max_connections"
	ruleTried    simRule = "2: no client gets a backend that it has tried"
	ruleDown     simRule = "3: a backend that is down gets no clients unless the pool panics, and it panics at its threshold"
	ruleEjected  simRule = "4: ejected are no more than max_ejected, for their time, and only the last resort until then"
	ruleChecked  simRule = "5: health follows from the results of the checks, in time"
	ruleQueue    simRule = "6: waiting clients are served in order, and none waits that could be served"
	ruleServed   simRule = "7: a client is turned away only when all backends that it has not tried are down or full"
	ruleTier     simRule = "8: a backend serves only when none of an earlier tier can"
	ruleBackoff  simRule = "9: a backend in backoff is probed by one connection at a time"
	ruleEnd      simRule = "10: when all faults are mended, everything is as at the start"
	ruleSlow     simRule = "11: weights grow from a tenth to the whole in the time of a slow start"
	ruleReported simRule = "12: what happens to a backend is reported, once"
	ruleUpdate   simRule = "14: a live pool takes any members and options, and nothing is lost by that"
	ruleDrained  simRule = "15: no client gets a backend that an operator has drained"
	ruleBound    simRule = "13: source_hash gives no backend more than max_load of its share"
)

// simViolation is a rule that did not hold.
type simViolation struct {
	rule simRule
	text string
}

func (v simViolation) Error() string { return fmt.Sprintf("rule %s\n%s", v.rule, v.text) }

// violated ends the simulation.
func (s *simulation) violated(rule simRule, format string, args ...any) {
	panic(simViolation{rule, fmt.Sprintf(format, args...)})
}

// simState is what a backend is to a new client.
type simState int

const (
	simFree simState = iota // it may serve
	simDue                  // in backoff, and its next probe is due
	simLast                 // in backoff or ejected: it may serve when no other is left
	simFull                 // it might serve if it had fewer connections
	simOut                  // it may not serve
)

func (t *twin) state(b *twinBackend, now int64) simState {
	panics := t.panics()
	ejected := b.ejectedUntil != 0 && !panics
	switch {
	case b.drained, b.health == backend.HealthDown && !panics:
		return simOut
	case b.full():
		if ejected || b.failures > 0 {
			return simOut
		}
		return simFull
	case ejected:
		return simLast
	case b.failures == 0:
		return simFree
	case b.until <= now:
		return simDue
	}
	return simLast
}

// simRequest is a client that asks for a backend.
type simRequest struct {
	tried         []*backend.Backend
	onlyAvailable bool
	waits         bool         // while all are full
	any           bool         // also when no backend can serve
	again         bool         // it has had its turn before
	granted       bool         // this is its turn
	beside        *twinBackend // that is being dialled for the same client; nil for a first dial
}

// probes reports whether the client may be the probe of one in backoff.
func (r *simRequest) probes() bool { return len(r.tried) == 0 && !r.onlyAvailable }

// offer returns the first tier in which a backend may serve the client without being the last
// resort; -1 if none may. A client that waits does not continue to the backups; a client that would
// find the queue full does.
func (t *twin) offer(r *simRequest, now int64) int {
	waits := r.waits && (r.granted || r.again || len(t.queue) < t.options.Queue)
	full := false
	for n, tier := range t.tiers {
		if r.beside != nil && r.beside.tier != n {
			continue
		}
		priority := tier[0].real.Priority
		if n > 0 && t.tiers[n-1][0].real.Priority != priority {
			if waits && full {
				return -1
			}
			full = false
		}
		for _, b := range tier {
			switch t.state(b, now) {
			case simFree:
				if !slices.Contains(r.tried, b.real.Backend) {
					return n
				}
			case simDue:
				if r.probes() {
					return n
				}
			case simFull:
				full = true
			}
		}
	}
	return -1
}

// any reports whether a backend that is not among those tried is in one of these states.
func (t *twin) any(tried []*backend.Backend, now int64, states ...simState) bool {
	return slices.ContainsFunc(t.backends, func(b *twinBackend) bool {
		return !slices.Contains(tried, b.real.Backend) && slices.Contains(states, t.state(b, now))
	})
}

// judge looks at the answer to a request, before the twin has acted on it.
func (s *simulation) judge(r *simRequest, b *backend.Backend, verdict balancer.Verdict) {
	t, now := s.twin, s.loop.now
	if verdict == balancer.Picked {
		s.judgePick(r, t.of(b))
		return
	}
	anyFull := t.any(nil, now, simFull)
	behind := r.waits && len(t.queue) > 0 // no client overtakes those that wait
	mayWait := r.waits && (r.any || anyFull) || behind
	switch {
	case verdict == balancer.NoBackend && r.onlyAvailable && t.offer(r, now) >= 0,
		verdict == balancer.NoBackend && !r.onlyAvailable && t.any(r.tried, now, simFree, simDue, simLast):
		s.violated(ruleServed, "no backend for a client that has tried %d: %s", len(r.tried), s)
	case t.offer(r, now) >= 0, !r.onlyAvailable && !anyFull && !behind && t.any(r.tried, now, simDue, simLast):
		s.violated(ruleQueue, "verdict %d for a client that could be served: %s", verdict, s)
	case mayWait != (verdict != balancer.NoBackend):
		s.violated(ruleQueue, "verdict %d for a client, that it may wait is %t: %s", verdict, mayWait, s)
	case mayWait && (len(t.queue) >= t.options.Queue && !r.again) != (verdict == balancer.QueueFull):
		s.violated(ruleQueue, "verdict %d, and %d wait: %s", verdict, len(t.queue), s)
	}
}

// judgePick looks at the backend that a client has got.
func (s *simulation) judgePick(r *simRequest, b *twinBackend) {
	t, now := s.twin, s.loop.now
	offered, state := t.offer(r, now), t.state(b, now)
	hadItsTurn := r.granted && r.again
	lastResort := offered < 0 && !r.onlyAvailable && !hadItsTurn
	switch {
	case b.drained:
		s.violated(ruleDrained, "%s was picked: %s", b.real.Address, s)
	case slices.Contains(r.tried, b.real.Backend):
		s.violated(ruleTried, "%s was picked again: %s", b.real.Address, s)
	case b.full():
		s.violated(ruleCount, "%s was picked and is full: %s", b.real.Address, s)
	case state == simOut:
		s.violated(ruleDown, "%s was picked and is down: %s", b.real.Address, s)
	case b.ejectedUntil != 0 && state == simLast && !lastResort:
		s.violated(ruleEjected, "%s was picked and is ejected, and others can serve: %s", b.real.Address, s)
	case state == simLast && !lastResort, state == simDue && !r.probes() && !lastResort:
		s.violated(ruleBackoff, "%s was picked and is in backoff, and others can serve: %s", b.real.Address, s)
	case offered >= 0 && offered < b.tier, offered < 0 && state == simFree:
		s.violated(ruleTier, "%s was picked of a tier that does not serve: %s", b.real.Address, s)
	case state == simDue && b.probe != nil && !lastResort && b.probe.began+int64(backend.ProbeLease) > now:
		s.violated(ruleBackoff, "%s is probed by two: %s", b.real.Address, s)
	case state == simFree && s.options.MaxLoad > 0 && !b.onTrial && !t.hasRoom(r, b, now):
		s.violated(ruleBound, "%s was picked over its bound: %s", b.real.Address, s)
	}
	switch {
	case state == simDue && offered >= 0:
		s.happened("picked as a probe")
	case state != simFree:
		s.happened("picked as the last resort")
	case b.health == backend.HealthDown || b.ejectedUntil != 0:
		s.happened("picked in panic")
	case b.tier > 0:
		s.happened("picked of a later tier")
	}
}

// hasRoom reports whether one more connection is within the bound of the load, among the free ones
// of its tier.
func (t *twin) hasRoom(r *simRequest, b *twinBackend, now int64) bool {
	weights, connections := 0.0, 1
	for _, other := range t.tiers[b.tier] {
		if t.state(other, now) == simFree && !slices.Contains(r.tried, other.real.Backend) {
			weights += other.weight
			connections += other.active
		}
	}
	most := math.Ceil(float64(t.options.MaxLoad)/100*b.weight/weights*float64(connections) - 1e-9)
	return b.active+1 <= int(most)
}

// check compares the balancer with its twin. It follows each event.
func (s *simulation) check() {
	t, now := s.twin, s.loop.now
	for _, b := range t.backends {
		real := b.real
		switch {
		case real.Health() != b.health:
			s.violated(ruleChecked, "%s is %s: %s", real.Address, real.Health(), s)
		case real.Failures() != b.failures, real.BackoffUntil() != b.until, real.Probing() != b.probing:
			s.violated(ruleBackoff, "%s has %d failures, until %s, probing %t: %s", real.Address,
				real.Failures(), s.time(real.BackoffUntil()), real.Probing(), s)
		case real.EjectedUntil() != b.ejectedUntil, real.Suspect() != (b.suspicion != 0):
			s.violated(ruleEjected, "%s is ejected until %s, suspect %t: %s", real.Address,
				s.time(real.EjectedUntil()), real.Suspect(), s)
		case b.ejectedUntil != 0 && now > b.ejectedUntil+int64(tickEvery):
			s.violated(ruleEjected, "the ejection of %s has not ended in time: %s", real.Address, s)
		case b.reportedBackoff != (b.failures > 0), b.reportedEjected != (b.ejectedUntil != 0):
			s.violated(ruleReported, "of %s was reported: backoff %t, ejected %t: %s", real.Address, b.reportedBackoff, b.reportedEjected, s)
		}
	}
	for _, b := range t.all {
		if b.real.Active() != int64(b.active) {
			s.violated(ruleCount, "%s counts %d connections, want %d: %s", b.real.Address, b.real.Active(), b.active, s)
		}
	}
	stats := s.balancer.Stats()
	if stats.Panicking {
		s.happened("panicked")
	}
	switch {
	case stats.Backends != len(t.backends):
		s.violated(ruleCount, "%d backends: %s", stats.Backends, s)
	case stats.Drained != len(t.backends)-t.inService():
		s.violated(ruleDrained, "%d are drained: %s", stats.Drained, s)
	case s.balancer.CanServe() != t.canServe():
		s.violated(ruleDown, "that a backend can serve is %t: %s", !t.canServe(), s)
	case stats.Panicking != t.panics() || stats.Usable != t.usable():
		s.violated(ruleDown, "panicking %t with %d usable: %s", stats.Panicking, stats.Usable, s)
	case stats.Waiting != len(t.queue):
		s.violated(ruleQueue, "%d wait: %s", stats.Waiting, s)
	case len(t.queue) > 0 && !t.queue[0].pausing && t.offer(&simRequest{onlyAvailable: true, waits: true, granted: true}, now) >= 0:
		s.violated(ruleQueue, "a client waits that could be served: %s", s)
	}
	s.checkIdle()
}

// checkIdle holds that the first in the queue is served no later than at the next tick, be it as
// the probe.
func (s *simulation) checkIdle() {
	now := s.loop.now
	switch {
	case len(s.twin.queue) == 0, s.twin.offer(&simRequest{waits: true, granted: true}, now) < 0:
		s.idle = 0
	case s.idle == 0:
		s.idle = now
	case now > s.idle+int64(tickEvery):
		s.violated(ruleQueue, "since %s a client waits that could be served: %s", s.time(s.idle), s)
	}
}
