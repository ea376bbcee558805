package backend

import "sync/atomic"

// outlier is what the connections of a backend say about it, beside the checks.
// As in aside, one goroutine at a time writes.
type outlier struct {
	ejectedUntil atomic.Int64 // 0: not ejected
	failures     atomic.Int32 // in a row: failed dials, and connections without an answer
	ejections    atomic.Int32 // of late: each lasts longer than the one before
}

// Ejected reports whether too many of its connections failed in a row. Any
// goroutine may ask.
func (b *Backend) Ejected() bool { return b.outlier.ejectedUntil.Load() != 0 }

// EjectedUntil returns when the ejection ends; 0 when there is none.
func (b *Backend) EjectedUntil() int64 { return b.outlier.ejectedUntil.Load() }

// Ejections returns how many ejections there were of late, this one included.
func (b *Backend) Ejections() int { return int(b.outlier.ejections.Load()) }

// Suspect reports whether the last connection failed, so that an answer is
// worth telling. Any goroutine may ask.
func (b *Backend) Suspect() bool { return b.outlier.failures.Load() != 0 }

// CountFailure counts one more failure in a row and returns how many there are.
func (b *Backend) CountFailure() int { return int(b.outlier.failures.Add(1)) }

// Answered forgets the failures in a row. Any goroutine may call it.
func (b *Backend) Answered() { b.outlier.failures.Store(0) }

// Eject notes an ejection until the given time, the n-th of late.
func (b *Backend) Eject(until int64, n int) {
	b.outlier.failures.Store(0)
	b.outlier.ejections.Store(int32(n))
	b.outlier.ejectedUntil.Store(until)
}

// Return ends an ejection.
func (b *Backend) Return() { b.outlier.ejectedUntil.Store(0) }
