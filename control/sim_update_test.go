package control

import (
	"fmt"
	"slices"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// nextUpdate has the pool change now and then, and connections handed over, as long as there is
// trouble.
func (s *simulation) nextUpdate() {
	if s.updates == 0 {
		return
	}
	s.loop.after(s.around(s.updates), func() {
		if s.mended {
			return
		}
		if s.chance(0.3) {
			s.adopt()
		} else {
			s.update(s.newMembers())
		}
		s.nextUpdate()
	})
}

// newMembers draws which servers are in the pool from now on, with what is configured for them. A
// server may come back as the backend that it was, or as another one with the same address.
func (s *simulation) newMembers() []*twinBackend {
	fresh := drawMembers(s.rand, len(s.truth))
	var members []*twinBackend
	few, all := s.chance(0.1), s.chance(0.3)
	for i, m := range fresh {
		in := s.chance(0.7)
		switch at := slices.IndexFunc(s.twin.backends, func(b *twinBackend) bool { return b.number == i }); {
		case few:
			in = s.chance(0.1)
		case at >= 0 && all:
			in = true
		}
		if !in {
			continue
		}
		b := s.backendOf(i)
		if s.chance(0.5) { // else as before
			b.real.Weight, b.real.MaxConnections, b.real.Priority, b.real.Far = m.Weight, m.MaxConnections, m.Priority, m.Far
		}
		members = append(members, b)
	}
	if s.chance(0.2) {
		s.rand.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] })
	}
	return members
}

// backendOf returns the backend of a server: the one in the pool, the last one that has left, or a
// new one.
func (s *simulation) backendOf(number int) *twinBackend {
	var last *twinBackend
	for _, b := range s.twin.all {
		if b.number == number && (last == nil || last.tier < 0) {
			last = b
		}
	}
	if last.tier >= 0 || s.chance(0.5) {
		return last
	}
	m := last.real
	m.Backend = &backend.Backend{Address: fmt.Sprintf("b%d", number)}
	b := &twinBackend{real: m, number: number, tier: -1}
	s.twin.all = append(s.twin.all, b)
	return b
}

// newOptions draws what else changes, if anything.
func (s *simulation) newOptions() balancer.Options {
	o, drawn := s.options, s.drawOptions(s.rand)
	if s.chance(0.3) && (drawn.Policy != "maglev" || s.chance(0.2)) { // see drawSetup
		o.Policy, o.MaxLoad = drawn.Policy, drawn.MaxLoad
	}
	if s.chance(0.3) {
		o.Queue = drawn.Queue
		if s.chance(0.2) {
			o.Queue = 0
		}
	}
	if s.chance(0.3) {
		o.Outlier = drawn.Outlier
	}
	if s.chance(0.3) {
		o.PanicThreshold = drawn.PanicThreshold
	}
	if s.chance(0.3) {
		o.SlowStart = drawn.SlowStart
	}
	return o
}

// update gives the pool other members and options. What watches over the pool begins and ends the
// checks.
func (s *simulation) update(members []*twinBackend) {
	o := s.newOptions()
	if s.tracing {
		s.trace("(update: policy %s, queue %d, slow start %v, panic at %d %%, outlier %+v)", o.Policy, o.Queue, o.SlowStart,
			o.PanicThreshold, o.Outlier)
	}
	if o.Policy != s.options.Policy {
		s.happened("changed the policy")
	}
	if len(members) == 0 {
		s.happened("emptied the pool")
	}
	var joined []*twinBackend
	configured := make([]balancer.Member, len(members))
	for i, b := range members {
		configured[i] = b.real
		if b.tier < 0 {
			joined = append(joined, b)
			if s.checked {
				b.health = backend.HealthUnknown // what new checks begin with
				s.balancer.SetHealth(b.real.Backend, b.health, s.loop.now)
			}
		}
		if s.tracing {
			s.trace("(  %s: weight %d, priority %d, far %t, at most %d)", b.real.Address, b.real.Weight, b.real.Priority,
				b.real.Far, b.real.MaxConnections)
		}
	}
	for _, b := range s.twin.backends {
		if !slices.Contains(members, b) {
			s.happened("left")
			if b.active > 0 {
				s.happened("left with connections")
			}
			s.targets[b.number] = nil
		}
	}
	if o.Outlier == nil && s.twin.ejected() > 0 {
		s.happened("ended ejections by an update")
	}
	waiting := len(s.twin.queue)
	s.options = o
	s.twin.update(members, o, s.loop.now)
	if err := s.balancer.Update(configured, o, s.loop.now); err != nil {
		s.violated(ruleUpdate, "Update: %v", err)
	}
	s.checkShares()
	if len(s.twin.queue) < waiting {
		s.happened("granted by an update")
	}
	for _, b := range joined {
		s.happened("joined")
		if b.active > 0 {
			s.happened("returned to the pool")
		}
		s.startChecks(b.number)
	}
	s.wantTicks()
}

// adopt takes over a connection of another process, to a backend that may be full or have left the
// pool.
func (s *simulation) adopt() {
	b := s.twin.all[s.rand.IntN(len(s.twin.all))]
	if b.full() {
		s.happened("adopted beyond its limit")
	}
	if s.tracing {
		s.trace("a connection to %s is handed over", b.real.Address)
	}
	c := &simClient{addr: s.anyClient()}
	s.clients++
	c.dial = &simDial{client: c, backend: b.real.Backend, began: s.loop.now}
	b.active++
	s.balancer.Adopt(b.real.Backend)
	s.relay(c.dial)
}

// update gives the twin other members and options.
func (t *twin) update(members []*twinBackend, o balancer.Options, now int64) {
	old := t.backends
	t.options, t.backends = o, members
	stays := false
	for _, b := range old {
		if slices.Contains(members, b) {
			stays = true
			continue
		}
		*b = twinBackend{real: b.real, number: b.number, tier: -1, health: b.health, active: b.active, lastAnswer: b.lastAnswer}
	}
	for _, b := range members {
		if o.Outlier == nil {
			if b.ejectedUntil != 0 {
				t.startSlowly(b, now)
			}
			b.onTrial, b.suspicion, b.silences = false, 0, nil
			b.ejectedUntil, b.ejections, b.lastEjection = 0, 0, 0
		}
		switch {
		case o.SlowStart == 0:
			b.rising = false
			b.weigh(1)
		case b.tier < 0 && stays:
			t.startSlowly(b, now)
		case b.rising:
			t.grow(b, now)
		default:
			b.weigh(1)
		}
	}
	t.sort()
}
