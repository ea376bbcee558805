package control

import (
	"slices"
	"time"

	"l4proxy/backend"
	"l4proxy/health"
)

// simTruth is what a backend is like. Only the checks and dials find out.
type simTruth int

const (
	simWell     simTruth = iota
	simRefuses           // dials are refused at once
	simSwallows          // dials are not answered
	simHangs             // dials are answered, and then nothing
	simCloses            // dials are answered, and then closed
)

func (t simTruth) String() string {
	return [...]string{"well", "refuses", "swallows", "hangs", "closes"}[t]
}

func (t simTruth) accepts() bool { return t == simWell || t == simHangs || t == simCloses }

// change makes a backend behave differently now and then.
func (s *simulation) change(i int) {
	s.loop.after(s.around(s.everyDay), func() {
		if s.mended {
			return
		}
		if s.chance(0.4) {
			s.become(i, simWell)
		} else {
			s.become(i, simTruth(s.rand.IntN(5)))
		}
		s.change(i)
	})
}

func (s *simulation) become(i int, truth simTruth) {
	if s.tracing {
		s.trace("(b%d %s)", i, truth)
	}
	passed := s.passes(i)
	s.truth[i] = truth
	if target := s.targets[i]; target != nil && s.passes(i) != passed {
		target.changed = s.loop.now
	}
	if truth == simRefuses { // its process is gone, and with it its connections
		s.endAll(i, true)
	}
}

// mend ends all trouble.
func (s *simulation) mend() {
	s.mended = true
	if s.updates > 0 { // the last one leaves no pool without backends
		members := s.newMembers()
		if len(members) == 0 {
			members = append(members, s.backendOf(0))
		}
		s.update(members)
	}
	for i := range s.members {
		s.become(i, simWell)
	}
	for _, b := range s.twin.backends {
		if b.drained {
			s.setAdmin(b, backend.AdminUp)
		}
	}
}

// simTarget is a backend under checks, as health's runner makes them.
type simTarget struct {
	backend  *twinBackend
	status   health.Status
	schedule health.Schedule
	results  []bool // all of them
	changes  int    // results until the last change
	changed  int64  // when the results of new checks became others
}

// passes reports whether a check that begins now passes.
func (s *simulation) passes(i int) bool {
	return s.truth[i] == simWell || !s.expects && s.truth[i].accepts()
}

// startChecks begins to check a server that is in the pool, if the pool is checked.
func (s *simulation) startChecks(i int) {
	if !s.checked {
		return
	}
	at := slices.IndexFunc(s.twin.backends, func(b *twinBackend) bool { return b.number == i })
	s.targets[i] = &simTarget{
		backend:  s.twin.backends[at],
		schedule: health.NewSchedule(s.checks, s.loop.now, i, len(s.truth)),
		changed:  s.loop.now,
	}
	s.nextCheck(i)
}

// nextCheck waits for the next check of a target, and does it, as long as that is in the pool.
func (s *simulation) nextCheck(i int) {
	target := s.targets[i]
	s.loop.at(target.schedule.Due, func() {
		if s.targets[i] != target {
			return
		}
		passed, takes := s.passes(i), s.between(0, min(10*time.Millisecond, s.checks.Timeout))
		if s.truth[i] == simSwallows || !passed && s.truth[i] == simHangs {
			takes = s.checks.Timeout
		}
		s.loop.after(takes, func() {
			if s.targets[i] != target {
				return
			}
			s.checkDone(i, passed)
			target.schedule.Next(s.checks, s.loop.now, target.status.InDoubt())
			s.nextCheck(i)
		})
	})
}

func (s *simulation) checkDone(i int, passed bool) {
	target := s.targets[i]
	b := target.backend
	s.checkInTime(i)
	target.results = append(target.results, passed)
	was := target.status.Health
	took := target.status.Observe(passed, s.checks.Rise, s.checks.Fall)
	is, want := target.status.Health, target.expected(was, s.checks)
	if is != want || (took > 0) != (is != was) {
		s.violated(ruleChecked, "b%d becomes %s by results %v, want %s", i, is, target.results, want)
	}
	if took > 0 {
		if want := len(target.results) - target.changes; took != want {
			s.violated(ruleChecked, "b%d becomes %s after %d results, want %d", i, is, took, want)
		}
		target.changes = len(target.results)
		s.setHealth(b, is)
	}
}

// expected is the health that all results so far, including this last one, amount to.
func (t *simTarget) expected(was backend.Health, o health.Options) backend.Health {
	last := t.results[len(t.results)-1]
	needed, is := o.Fall, backend.HealthDown
	if last {
		needed, is = o.Rise, backend.HealthUp
		if was == backend.HealthUnknown {
			needed = 1
		}
	}
	if len(t.results) < needed {
		return was
	}
	for _, passed := range t.results[len(t.results)-needed:] {
		if passed != last {
			return was
		}
	}
	return is
}

// checkInTime holds that a change of a backend shows after rise or fall intervals and the time of
// one check. It comes before the result of another check.
func (s *simulation) checkInTime(i int) {
	target := s.targets[i]
	needed, want := s.checks.Fall, backend.HealthDown
	if s.passes(i) {
		needed, want = s.checks.Rise, backend.HealthUp
	}
	limit := time.Duration(needed)*s.checks.Interval + s.checks.Timeout
	if s.loop.now > target.changed+int64(limit) && target.status.Health != want {
		s.violated(ruleChecked, "b%d has changed at %s and is still %s: %s", i, s.time(target.changed),
			target.status.Health, s)
	}
}

func (s *simulation) setHealth(b *twinBackend, h backend.Health) {
	if s.tracing {
		s.trace("checks: %s is %s", b.real.Address, h)
	}
	switch {
	case h == backend.HealthDown:
		s.happened("went down")
	case b.health == backend.HealthDown:
		s.happened("came up")
	}
	s.twin.setHealth(b, h, s.loop.now)
	s.balancer.SetHealth(b.real.Backend, h, s.loop.now)
	s.wantTicks() // as healthChanged does
	if h == backend.HealthDown && s.endOnDown {
		s.endAll(b.number, false)
	}
}
