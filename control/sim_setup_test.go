package control

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/health"
)

// simSetup is what a pool and its surroundings are like, drawn by the seed.
type simSetup struct {
	options        balancer.Options
	attempts       int
	connectTimeout time.Duration
	hedge          time.Duration // 0: off
	queueTimeout   time.Duration // 0: no queue
	waitForAny     bool          // clients wait also when no backend can serve

	checked   bool
	checks    health.Options
	expects   bool // the checks ask for an answer; else to be accepted is enough
	endOnDown bool // the connections of a backend end when it is down

	trouble  time.Duration // how long backends fail
	everyDay time.Duration // between two changes of one backend, on average
	arrivals time.Duration // between two clients, on average
	stay     time.Duration // of a client, on average
	bursts   bool          // clients come in crowds
	clumsy   bool          // clients leave while they are dialling or waiting, and dials fail for local reasons
	slow     bool          // dials are answered late at times
	updates  time.Duration // between two updates of the pool, on average; 0: there are none
	drains   time.Duration // between two acts of an operator, on average; 0: there are none
}

const simMaxBackends = 6

// drawSetup makes a pool that the configuration could describe.
func drawSetup(r *rand.Rand) (simSetup, []balancer.Member) {
	chance := func(p float64) bool { return r.Float64() < p }
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(r.Int64N(int64(to-from)+1)) }

	n := min(1+r.IntN(simMaxBackends+1), simMaxBackends)
	s := simSetup{
		attempts:       n,
		connectTimeout: between(200*time.Millisecond, 5*time.Second),
		endOnDown:      chance(0.2),
		trouble:        between(5*time.Second, 30*time.Second),
		everyDay:       between(2*time.Second, 10*time.Second),
		arrivals:       between(50*time.Millisecond, 250*time.Millisecond),
		stay:           between(50*time.Millisecond, 3*time.Second),
		bursts:         chance(0.2),
		clumsy:         chance(0.3),
		slow:           chance(0.3),
	}
	if chance(0.3) {
		s.attempts = 1 + r.IntN(n+1)
	}
	if n > 1 && s.attempts > 1 && chance(0.4) {
		s.hedge = between(20*time.Millisecond, 150*time.Millisecond)
	}
	if chance(0.5) {
		s.queueTimeout = between(500*time.Millisecond, 5*time.Second)
		s.waitForAny = chance(0.5)
	}
	if s.checked = chance(0.7); s.checked {
		s.checks = health.Options{
			Interval: between(500*time.Millisecond, 2*time.Second),
			Jitter:   float64(r.IntN(51)) / 100,
			Rise:     1 + r.IntN(3),
			Fall:     1 + r.IntN(3),
			Seed:     r.Uint64(),
		}
		s.checks.FastInterval = between(100*time.Millisecond, s.checks.Interval)
		s.checks.Timeout = between(50*time.Millisecond, s.checks.Interval)
		s.expects = chance(0.5)
	}
	if chance(0.5) {
		s.updates = between(300*time.Millisecond, 5*time.Second)
	}
	s.options = s.drawOptions(r)
	if s.options.Policy == "maglev" { // each fills tables, which takes more time than all the rest
		s.updates *= 4
	}
	return s, drawMembers(r, n)
}

// drawOptions draws how the pool picks.
func (s *simSetup) drawOptions(r *rand.Rand) balancer.Options {
	chance := func(p float64) bool { return r.Float64() < p }
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(r.Int64N(int64(to-from)+1)) }

	policies := balancer.Names()
	o := balancer.Options{Policy: policies[r.IntN(len(policies))], Seed: r.Uint64(), HashSeed: "seed"}
	if o.Policy == "source_hash" && chance(0.5) {
		o.MaxLoad = 101 + r.IntN(200)
	}
	if s.queueTimeout > 0 {
		o.Queue = 1 + r.IntN(10)
	}
	if chance(0.7) {
		o.Outlier = &balancer.Outlier{
			Failures:   1 + r.IntN(3),
			Eject:      between(300*time.Millisecond, 3*time.Second),
			MaxEjected: 1 + r.IntN(100),
		}
	}
	if chance(0.4) {
		o.PanicThreshold = 1 + r.IntN(99)
	}
	if chance(0.4) {
		o.SlowStart = between(300*time.Millisecond, 5*time.Second)
	}
	return o
}

func drawMembers(r *rand.Rand, n int) []balancer.Member {
	weighted, bounded := r.IntN(2) == 0, r.IntN(2) == 0
	priorities, zones := 1, r.IntN(4) == 0
	if r.IntN(3) == 0 {
		priorities = 3
	}
	all := make([]balancer.Member, n)
	for i := range all {
		b := balancer.Member{Backend: &backend.Backend{Address: fmt.Sprintf("b%d", i)}, Weight: 1}
		if weighted {
			b.Weight = 1 + r.IntN(5)
		}
		if bounded && r.IntN(3) > 0 {
			b.MaxConnections = int32(1 + r.IntN(6))
		}
		b.Priority = uint8(r.IntN(priorities))
		b.Far = zones && r.IntN(2) == 0
		all[i] = b
	}
	return all
}

// chance is true with this probability.
func (s *simulation) chance(p float64) bool { return s.rand.Float64() < p }

func (s *simulation) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rand.Int64N(int64(to-from)+1))
}

// around draws from the exponential distribution, as independent things happen; never more than ten
// times the mean.
func (s *simulation) around(mean time.Duration) time.Duration {
	return time.Duration(math.Min(s.rand.ExpFloat64(), 10) * float64(mean))
}
