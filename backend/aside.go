package backend

import (
	"sync/atomic"
	"time"
)

const (
	// MinAside is how long a backend is left aside after its first failed dial.
	MinAside = time.Second
	// MaxAside is the longest time between two probes of a failing backend.
	MaxAside = 30 * time.Second
	// ProbeLease is how long a probe may stay without a verdict before another
	// is allowed. Only a probe that was given up without one (its client left
	// during the dial) ever lasts that long.
	ProbeLease = MaxAside
)

// aside is the state of a backend whose dials fail. The methods that change it
// are called by one goroutine at a time (the pool's policy, under its lock);
// the fields are atomics because anybody may read them.
type aside struct {
	until    atomic.Int64 // the earliest time of the next probe; available, the time of the last recovery
	failures atomic.Int32 // failed dials in a row that counted; 0 = available
	probing  atomic.Bool
}

// LeftAside reports whether the last dial that counted failed. Any goroutine
// may ask.
func (b *Backend) LeftAside() bool { return b.aside.failures.Load() != 0 }

// Probing reports whether a connection is trying this left-aside backend. Any
// goroutine may ask.
func (b *Backend) Probing() bool { return b.aside.probing.Load() }

// Failures returns how many dials in a row failed: the first one, and each
// probe after it. Any goroutine may ask.
func (b *Backend) Failures() int { return int(b.aside.failures.Load()) }

// AsideUntil returns the earliest time at which a left-aside backend may be
// probed; 0 means at once, or that it is not left aside. Any goroutine may ask.
func (b *Backend) AsideUntil() int64 {
	if !b.LeftAside() {
		return 0
	}
	return b.aside.until.Load()
}

// Fail leaves the backend aside because a dial that began at some time was
// refused or timed out: for MinAside, and twice as long after each failed
// probe, up to MaxAside. It reports whether the state changed.
//
// Dials that were under way already when it was left aside, when its probe
// began, or when it recovered, change nothing. A burst of them would double a
// one-second pause to MaxAside at once, or send away one that is back.
func (b *Backend) Fail(began, now int64) bool {
	until := b.aside.until.Load()
	switch {
	case !b.LeftAside():
		if until != 0 && began < until {
			return false
		}
	case !b.Probing(), began < until-int64(ProbeLease):
		return false
	}
	failures := b.aside.failures.Add(1)
	b.aside.probing.Store(false)
	b.aside.until.Store(now + int64(delay(failures)))
	return true
}

// delay returns the pause after a number of failures in a row.
func delay(failures int32) time.Duration {
	d := MinAside
	for range failures - 1 {
		if d *= 2; d >= MaxAside {
			return MaxAside
		}
	}
	return d
}

// Recover brings the backend back fully because a dial was answered. It
// reports whether it had been left aside.
func (b *Backend) Recover(now int64) bool {
	if !b.LeftAside() {
		return false
	}
	b.aside.until.Store(now)
	b.aside.failures.Store(0)
	b.aside.probing.Store(false)
	return true
}

// Probe gives the backend to one connection to try, if it is left aside and
// its time is over. It reports whether the caller is that connection. Until
// Fail, Recover or EndProbe, or for ProbeLease, nobody else is.
func (b *Backend) Probe(now int64) bool {
	if !b.LeftAside() || b.aside.until.Load() > now {
		return false
	}
	b.aside.probing.Store(true)
	b.aside.until.Store(now + int64(ProbeLease))
	return true
}

// EndProbe takes back a Probe that ended without a verdict; the next one is
// allowed at once. It reports whether there was one.
func (b *Backend) EndProbe() bool {
	if !b.Probing() {
		return false
	}
	b.aside.probing.Store(false)
	b.aside.until.Store(0)
	return true
}
