package backend

import (
	"sync/atomic"
	"time"
)

const (
	// MinBackoff is the backoff after the first failed dial.
	MinBackoff = time.Second
	// MaxBackoff is the longest time between two probes of a failing backend.
	MaxBackoff = 30 * time.Second
	// ProbeLease is how long a probe may go without a result before another one is allowed. Only a
	// probe whose client left during the dial ever takes that long.
	ProbeLease = MaxBackoff
)

// backoff is the state of a backend whose dials fail. One goroutine at a time calls the methods
// that change it: the balancer, under its lock. The fields are atomics because any goroutine may
// read them.
type backoff struct {
	until    atomic.Int64 // the earliest time of the next probe; outside a backoff, the time of the last recovery
	failures atomic.Int32 // failed dials in a row that counted; 0 = not in backoff
	probing  atomic.Bool
}

// InBackoff reports whether the last dial that counted failed. Any goroutine may call it.
func (b *Backend) InBackoff() bool { return b.backoff.failures.Load() != 0 }

// Probing reports whether a connection is trying this backend, which is in backoff. Any goroutine
// may call it.
func (b *Backend) Probing() bool { return b.backoff.probing.Load() }

// Failures returns how many dials in a row failed: the first one, and each probe after it. Any
// goroutine may call it.
func (b *Backend) Failures() int { return int(b.backoff.failures.Load()) }

// BackoffUntil returns the earliest time at which a backend in backoff may be probed. 0 means at
// once, or that it is not in backoff. Any goroutine may call it.
func (b *Backend) BackoffUntil() int64 {
	if !b.InBackoff() {
		return 0
	}
	return b.backoff.until.Load()
}

// Fail puts the backend in backoff because a dial that began at the given time was refused or timed
// out. The backoff lasts MinBackoff, and twice as long after each failed probe, up to MaxBackoff.
// Fail reports whether the state changed.
//
// A dial that was already under way when the backoff, its probe or the last recovery began changes
// nothing. A burst of such dials would double a backoff of one second to MaxBackoff at once, or put
// a backend that has recovered back into backoff.
func (b *Backend) Fail(began, now int64) bool {
	until := b.backoff.until.Load()
	switch {
	case !b.InBackoff():
		if until != 0 && began < until {
			return false
		}
	case !b.Probing(), began < until-int64(ProbeLease):
		return false
	}
	if !b.InBackoff() {
		b.trouble.backoffSince.Store(now)
	}
	failures := b.backoff.failures.Add(1)
	b.backoff.probing.Store(false)
	b.backoff.until.Store(now + int64(delay(failures)))
	return true
}

// delay returns the backoff after a number of failures in a row.
func delay(failures int32) time.Duration {
	d := MinBackoff
	for range failures - 1 {
		if d *= 2; d >= MaxBackoff {
			return MaxBackoff
		}
	}
	return d
}

// Recover ends the backoff because a dial was answered. It reports whether there was one.
func (b *Backend) Recover(now int64) bool {
	if !b.InBackoff() {
		return false
	}
	b.backoff.until.Store(now)
	b.backoff.failures.Store(0)
	b.backoff.probing.Store(false)
	return true
}

// Probe gives the backend to one connection to try, if its backoff has run out. It reports whether
// the caller is that connection. Until Fail, Recover or EndProbe is called, or ProbeLease has
// passed, no other connection is.
func (b *Backend) Probe(now int64) bool {
	if !b.InBackoff() || b.backoff.until.Load() > now {
		return false
	}
	b.backoff.probing.Store(true)
	b.backoff.until.Store(now + int64(ProbeLease))
	return true
}

// EndProbe takes back a Probe that ended without a result: the next one is allowed at once. It
// reports whether there was one.
func (b *Backend) EndProbe() bool {
	if !b.Probing() {
		return false
	}
	b.backoff.probing.Store(false)
	b.backoff.until.Store(0)
	return true
}
