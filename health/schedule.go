package health

import "time"

// Options say when the targets of a group are checked, and how many results change a status. Zero
// values mean the defaults.
type Options struct {
	// Interval is the longest time from the start of a check to the start of the next; 0 means 2s.
	// A check never starts before the previous one has ended.
	Interval time.Duration
	// FastInterval replaces Interval while a target is in doubt; 0 means a quarter of Interval, and
	// at least 100 ms. It is at most Interval.
	FastInterval time.Duration
	// Timeout is how long one check may take; 0 means 1s. If it is no longer than Interval, a dead
	// backend is down after at most Fall times Interval, plus Timeout.
	Timeout time.Duration
	// Jitter is the random part of each interval, 0 to 1: a check begins up to that much earlier,
	// so that proxies that were started together do not check together.
	Jitter float64
	// Rise is how many passes in a row bring a target up; 0 means 2.
	Rise int
	// Fall is how many failures in a row take a target down; 0 means 3.
	Fall int
	// Seed is the seed of the random numbers.
	Seed uint64
}

const (
	// tick: what is due within this time is done together.
	tick = 10 * time.Millisecond
	// minInterval keeps a check from being due again in the same turn.
	minInterval = 2 * tick
)

func (o Options) withDefaults() Options {
	if o.Interval <= 0 {
		o.Interval = 2 * time.Second
	}
	o.Interval = max(o.Interval, minInterval)
	if o.FastInterval <= 0 {
		o.FastInterval = max(o.Interval/4, 100*time.Millisecond)
	}
	o.FastInterval = min(max(o.FastInterval, minInterval), o.Interval)
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	o.Jitter = min(max(o.Jitter, 0), 1)
	if o.Rise <= 0 {
		o.Rise = 2
	}
	if o.Fall <= 0 {
		o.Fall = 3
	}
	return o
}

const (
	// allAtOnce is how many targets are checked at once at startup.
	allAtOnce = 64
	// maxSpread is the time over which the first checks of more targets are spread.
	maxSpread = time.Second
)

// Schedule says when the checks of one target begin. It is a value. Times are nanoseconds of the
// caller's clock. The same seed gives the same times.
type Schedule struct {
	// Due is when the next check begins.
	Due int64

	random uint64
	placed bool // the target has a position in the interval
}

// NewSchedule is the schedule of the target number index of several that start at the time now.
func NewSchedule(o Options, now int64, index, targets int) Schedule {
	o = o.withDefaults()
	s := Schedule{Due: now, random: o.Seed + uint64(index)<<32}
	if targets > allAtOnce {
		s.Due += int64(min(o.Interval, maxSpread)) * int64(index) / int64(targets)
	}
	return s
}

// Next sets Due for the check after one that was due at Due and has ended at now. It counts from
// Due, so delays do not add up. Missed checks are not made up for.
//
// The first time that a target is not in doubt, it gets a random position in the interval, whatever
// the jitter: targets that start together are spread at once.
func (s *Schedule) Next(o Options, now int64, doubt bool) {
	o = o.withDefaults()
	interval, jitter := o.Interval, o.Jitter
	switch {
	case doubt:
		interval = o.FastInterval
	case !s.placed:
		s.placed, jitter = true, 1
	}
	early := time.Duration(float64(interval) * jitter * s.chance())
	s.Due = max(s.Due+int64(max(interval-early, tick)), now)
}

// Hasten moves Due to a random position in the interval of o if it is beyond it: after a change to
// a shorter interval, the targets of a group are spread at once.
func (s *Schedule) Hasten(o Options, now int64) {
	if interval := int64(o.withDefaults().Interval); s.Due > now+interval {
		s.Due = now + int64(float64(interval)*s.chance())
	}
}

// chance returns a random number in [0, 1): SplitMix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, OOPSLA 2014), whose state is one word.
func (s *Schedule) chance() float64 {
	s.random += 0x9e3779b97f4a7c15
	z := s.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}
