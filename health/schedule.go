package health

import "time"

// Options say when the targets of a group are checked, and what it takes to
// change one's status. Zero values mean the defaults.
type Options struct {
	// Interval is the longest time from the begin of a check to that of the
	// next; 0 means 2 s. A check is never begun before the one before has
	// ended.
	Interval time.Duration
	// FastInterval takes its place while a target is in doubt; 0 means a
	// quarter of it, and at least 100 ms. It is at most Interval.
	FastInterval time.Duration
	// Timeout is how long one check may take; 0 means 1 s. While it is not
	// longer than Interval, a dead backend is down after at most Fall times
	// Interval and once Timeout.
	Timeout time.Duration
	// Jitter is the part of each interval, 0 to 1, that is left to chance: a
	// check begins up to that much earlier, so that checkers that were started
	// together do not stay together.
	Jitter float64
	// Rise is how many passes in a row bring a target up that was down; 0
	// means 2.
	Rise int
	// Fall is how many failures in a row take a target down; 0 means 3.
	Fall int
	// Seed is what chance is drawn from.
	Seed uint64
}

const (
	// tick is how much is done in one go: what is due within this time.
	tick = 10 * time.Millisecond
	// minInterval keeps a check from being due again in the same go.
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
	// allAtOnce is how many targets are checked at once at the start.
	allAtOnce = 64
	// maxSpread is the time over which the first checks of more are spread.
	maxSpread = time.Second
)

// Schedule says when the checks of one target begin. It is a value; the times
// are nanoseconds of a clock that its user has. The same seed gives the same
// times.
type Schedule struct {
	// Due is when the next check begins.
	Due int64

	random uint64
	placed bool // the target has a place in the interval
}

// NewSchedule is the schedule of the target number index of so many targets
// that begin at the time now.
func NewSchedule(o Options, now int64, index, targets int) Schedule {
	o = o.withDefaults()
	s := Schedule{Due: now, random: o.Seed + uint64(index)<<32}
	if targets > allAtOnce {
		s.Due += int64(min(o.Interval, maxSpread)) * int64(index) / int64(targets)
	}
	return s
}

// Next sets Due for the check after one that was due at Due and has ended at
// now. It counts from when that was due, so that delays do not add up; but what
// was missed is not made up for.
//
// The first time that a target is not in doubt, it gets a place in the interval
// by chance, whatever the jitter: targets that begin together part at once.
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

// chance draws from [0, 1): SplitMix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, OOPSLA 2014), whose state is one word.
func (s *Schedule) chance() float64 {
	s.random += 0x9e3779b97f4a7c15
	z := s.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}
