package backend

import (
	"slices"
	"sync/atomic"
)

// DialFailure is why a dial failed, whether or not the backend caused it.
type DialFailure uint8

// The failures.
const (
	DialRefused DialFailure = iota
	DialTimeout
	DialUnreachable
	DialLocalPorts
	DialNoSource
	DialLocalResources
	DialError
	dialFailures
)

// dialFailureNames are words of the closed list of reasons: see package proxy.
var dialFailureNames = [dialFailures]string{
	"connect_refused", "connect_timeout", "connect_unreachable", "local_ports", "no_source", "local_resources", "error",
}

func (f DialFailure) String() string { return dialFailureNames[f] }

// failedDials are counts by failure. Most backends need none.
type failedDials [dialFailures]atomic.Uint64

// CountFailed counts a dial that has failed. Unlike DialFailed, it makes no difference to anything
// else. Any goroutine may call it.
func (b *Backend) CountFailed(f DialFailure) { b.countFailed(f, 1) }

func (b *Backend) countFailed(f DialFailure, n uint64) {
	counts := b.failed.Load()
	if counts == nil {
		b.failed.CompareAndSwap(nil, new(failedDials))
		counts = b.failed.Load()
	}
	counts[f].Add(n)
}

// FailedDials calls f with each failure that there was, and how often. Any goroutine may call it.
func (b *Backend) FailedDials(f func(failure DialFailure, n uint64)) {
	counts := b.failed.Load()
	if counts == nil {
		return
	}
	for failure := range counts {
		if n := counts[failure].Load(); n > 0 {
			f(DialFailure(failure), n)
		}
	}
}

func (b *Backend) saveFailed() (saved map[string]uint64) {
	b.FailedDials(func(failure DialFailure, n uint64) {
		if saved == nil {
			saved = make(map[string]uint64)
		}
		saved[failure.String()] = n
	})
	return saved
}

// loadFailed adds what another process has saved. A word that this version does not know counts as
// DialError.
func (b *Backend) loadFailed(saved map[string]uint64) {
	for name, n := range saved {
		failure := DialError
		if i := slices.Index(dialFailureNames[:], name); i >= 0 {
			failure = DialFailure(i)
		}
		b.countFailed(failure, n)
	}
}
