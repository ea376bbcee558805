package control

import (
	"cmp"
	"math"
	"slices"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// twin is what a simulation expects of a balancer: it gets the same reports, is slow and obvious,
// and looks at all backends each time.
type twin struct {
	options  balancer.Options
	all      []*twinBackend   // those that have left too
	backends []*twinBackend   // those in the pool
	tiers    [][]*twinBackend // the first to serve is first
	queue    []*simTicket
}

// twinBackend is what is expected of one backend.
type twinBackend struct {
	real   balancer.Member
	number int // of the server
	tier   int // -1: it has left the pool
	health backend.Health
	active int
	// drained says that an operator has taken it out of service.
	drained bool
	// What events have said of it.
	reportedBackoff, reportedEjected bool

	failures int   // why it is in backoff; 0: it is not
	until    int64 // of the next probe
	probing  bool
	probe    *simDial // the connection that does

	recovered              int64              // when it was brought back last
	onTrial                bool               // it is tried out before an ejection
	trial                  int64              // since when
	suspicion              int                // failed dials and connections in a row
	lastAnswer             int64              // to the millisecond; 0: none yet
	silences               []balancer.Silence // of clients that gave up, counted
	ejectedUntil           int64
	ejections              int
	lastEjection, returned int64

	rising      bool
	risingSince int64
	weight      float64 // in 64ths
}

func newTwin(o balancer.Options, members []balancer.Member) *twin {
	t := &twin{options: o}
	for i, m := range members {
		b := &twinBackend{real: m, number: i, weight: 64 * float64(m.Weight)}
		t.all, t.backends = append(t.all, b), append(t.backends, b)
	}
	t.sort()
	return t
}

// sort puts the backends into tiers.
func (t *twin) sort() {
	t.tiers = nil
	near := func(b *twinBackend) int {
		if b.real.Far {
			return 1
		}
		return 0
	}
	order := slices.Clone(t.backends)
	slices.SortStableFunc(order, func(a, b *twinBackend) int {
		return cmp.Or(cmp.Compare(a.real.Priority, b.real.Priority), cmp.Compare(near(a), near(b)))
	})
	for i, b := range order {
		if i == 0 || b.real.Priority != order[i-1].real.Priority || b.real.Far != order[i-1].real.Far {
			t.tiers = append(t.tiers, nil)
		}
		b.tier = len(t.tiers) - 1
		t.tiers[b.tier] = append(t.tiers[b.tier], b)
	}
}

func (t *twin) of(b *backend.Backend) *twinBackend {
	return t.all[slices.IndexFunc(t.all, func(o *twinBackend) bool { return o.real.Backend == b })]
}

func (b *twinBackend) full() bool {
	return b.real.MaxConnections > 0 && b.active >= int(b.real.MaxConnections)
}

// usable counts those that are neither down nor ejected.
func (t *twin) usable() int {
	n := 0
	for _, b := range t.backends {
		if b.health != backend.HealthDown && b.ejectedUntil == 0 && !b.drained {
			n++
		}
	}
	return n
}

func (t *twin) ejected() int {
	n := 0
	for _, b := range t.backends {
		if b.ejectedUntil != 0 {
			n++
		}
	}
	return n
}

// panics reports whether so few are usable that all are used.
func (t *twin) panics() bool {
	usable, all := t.usable(), t.inService()
	return t.options.PanicThreshold > 0 && usable < all && usable*100 <= t.options.PanicThreshold*all
}

// canServe reports whether any backend may be used, as far as checks and the operator say.
func (t *twin) canServe() bool {
	return t.panics() || slices.ContainsFunc(t.backends, func(b *twinBackend) bool {
		return !b.drained && b.health != backend.HealthDown
	})
}

// take counts one more connection. If the backend is in backoff and its time is over, that is the
// probe.
func (t *twin) take(b *twinBackend, d *simDial, now int64) {
	b.active++
	if b.failures > 0 && b.until <= now {
		b.probing, b.probe = true, d
		b.until = now + int64(backend.ProbeLease)
	}
}

func (t *twin) done(b *twinBackend, d *simDial) {
	b.active--
	if b.probe == d {
		b.probe = nil
	}
	if b.probing && b.active == 0 { // it ended without a verdict
		b.probing, b.until = false, 0
	}
}

// failed counts a failed dial, unless it is older than what is known: begun before the probe, or
// before the recovery.
func (t *twin) failed(b *twinBackend, began, now int64) {
	if b.tier < 0 {
		return
	}
	t.backOff(b, began, now)
	t.suspect(b, began, now, false)
}

func (t *twin) backOff(b *twinBackend, began, now int64) {
	if b.tier < 0 {
		return
	}
	if b.failures == 0 && began >= b.recovered || b.probing && began >= b.until-int64(backend.ProbeLease) {
		b.failures++
		b.probing, b.probe = false, nil
		b.until = now + int64(min(backend.MinBackoff<<min(b.failures-1, 10), backend.MaxBackoff))
	}
}

func (t *twin) ok(b *twinBackend, now int64) {
	if b.failures > 1 {
		t.startSlowly(b, now)
	}
	if b.failures > 0 {
		b.recovered = now
	}
	b.failures, b.until, b.probing, b.probe = 0, 0, false, nil
}

// answered notes the first byte of each connection.
func (t *twin) answered(b *twinBackend, now int64) {
	if t.options.Outlier == nil {
		return
	}
	if b.lastAnswer == 0 || now-b.lastAnswer >= int64(time.Millisecond) {
		b.lastAnswer = now
	}
	b.suspicion = 0
}

// answeredSince reports whether the backend has answered any client since a time, or may have.
func (b *twinBackend) answeredSince(asked int64) bool {
	return b.lastAnswer != 0 && asked < b.lastAnswer+int64(time.Millisecond)
}

// silent notes each connection that has ended silently, and reports whether that counts.
func (t *twin) silent(b *twinBackend, s balancer.Silence) bool {
	if t.options.Outlier == nil || b.tier < 0 || b.answeredSince(s.Asked) {
		return false
	}
	if s.Once > 0 {
		for _, old := range b.silences {
			if old.Client == s.Client && s.Now-old.Now < int64(s.Once) {
				return false
			}
		}
		b.silences = append(b.silences, s)
	}
	t.suspect(b, s.Asked, s.Now, s.Once > 0)
	return true
}

// suspect notes each failed dial, and each connection that has ended silently. A client has waited
// since asked.
func (t *twin) suspect(b *twinBackend, asked, now int64, waited bool) {
	o := t.options.Outlier
	if o == nil || b.drained || b.ejectedUntil != 0 || b.answeredSince(asked) {
		return
	}
	if b.suspicion++; b.suspicion == 1 {
		b.onTrial = false
	}
	if b.suspicion < o.Failures || (t.ejected()+1)*100 > o.MaxEjected*t.inService() {
		return
	}
	if waited && !b.full() {
		if !b.onTrial { // it is tried out: a client that asks from now on decides
			b.onTrial, b.trial = true, now
			return
		}
		if asked < b.trial {
			return
		}
	}
	b.suspicion, b.onTrial = 0, false
	if b.ejections > 0 && now-b.returned <= 2*b.lastEjection {
		b.ejections++
	} else {
		b.ejections = 1
	}
	b.lastEjection = min(int64(o.Eject)*int64(b.ejections), int64(max(o.Eject, 5*time.Minute)))
	b.ejectedUntil = now + b.lastEjection
}

func (t *twin) setHealth(b *twinBackend, h backend.Health, now int64) {
	if b.health == backend.HealthDown {
		t.startSlowly(b, now)
	}
	if h == backend.HealthUp {
		t.ok(b, now)
	}
	b.health = h
}

// tick ends ejections, and has weights grow.
func (t *twin) tick(now int64) {
	for _, b := range t.backends {
		if b.ejectedUntil != 0 && b.ejectedUntil <= now {
			b.ejectedUntil, b.returned = 0, now
			t.startSlowly(b, now)
		}
		if b.rising {
			t.grow(b, now)
		}
	}
}

// grow gives a backend that starts slowly the weight that is due by now.
func (t *twin) grow(b *twinBackend, now int64) {
	share := float64(now-b.risingSince) / float64(t.options.SlowStart)
	b.weigh(min(1, max(0.1, share)))
	b.rising = share < 1
}

func (t *twin) startSlowly(b *twinBackend, now int64) {
	if t.options.SlowStart > 0 {
		b.rising, b.risingSince = true, now
		b.weigh(0.1)
	}
}

// weigh gives a backend a part of its weight, in whole 64ths as the balancer counts them.
func (b *twinBackend) weigh(share float64) {
	b.weight = math.Floor(64 * float64(b.real.Weight) * share)
}

// enqueue has a client wait, ahead of all others when it has had its turn.
func (t *twin) enqueue(k *simTicket, again bool) {
	if again {
		t.queue = slices.Insert(t.queue, 0, k)
	} else {
		t.queue = append(t.queue, k)
	}
}

// leave reports whether the client was still waiting.
func (t *twin) leave(k *simTicket) bool {
	i := slices.Index(t.queue, k)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	return i >= 0
}
