package backend

import (
	"sync/atomic"
	"time"
)

// outlier is what the connections of a backend show about it, beside the checks. One goroutine at a
// time writes it, as with backoff.
type outlier struct {
	ejectedUntil atomic.Int64 // 0: not ejected
	failures     atomic.Int32 // in a row: failed dials, and connections without an answer
	ejections    atomic.Int32 // recent ones: each lasts longer than the one before
	answered     atomic.Int64 // the last answer, up to answerStep early; 0: none yet
}

// answerStep is the precision of the time of the last answer. A busy backend answers on all CPUs at
// once. With it, they write the time at most a thousand times a second and otherwise only read it.
const answerStep = int64(time.Millisecond)

// Ejected reports whether too many of its connections failed in a row. Any goroutine may call it.
func (b *Backend) Ejected() bool { return b.outlier.ejectedUntil.Load() != 0 }

// EjectedUntil returns when the ejection ends; 0 if the backend is not ejected.
func (b *Backend) EjectedUntil() int64 { return b.outlier.ejectedUntil.Load() }

// Ejections returns how many recent ejections there were, including this one.
func (b *Backend) Ejections() int { return int(b.outlier.ejections.Load()) }

// Suspect reports whether the last connection failed. Any goroutine may call it.
func (b *Backend) Suspect() bool { return b.outlier.failures.Load() != 0 }

// CountFailure counts one more failure in a row and returns how many there are.
func (b *Backend) CountFailure() int { return int(b.outlier.failures.Add(1)) }

// Answered notes that the backend has answered a client, and resets the failures in a row. Any
// goroutine may call it.
func (b *Backend) Answered(now int64) {
	if last := b.outlier.answered.Load(); last == 0 || now-last >= answerStep {
		if now == 0 {
			now = 1
		}
		b.outlier.answered.Store(now)
	}
	if b.Suspect() {
		b.outlier.failures.Store(0)
	}
}

// AnsweredSince reports whether the backend has answered any client since the given time. When in
// doubt, it returns true. Any goroutine may call it.
func (b *Backend) AnsweredSince(asked int64) bool {
	last := b.outlier.answered.Load()
	return last != 0 && last+answerStep > asked
}

// Eject ejects the backend until the given time; n is the number of recent ejections.
func (b *Backend) Eject(until int64, n int) {
	b.outlier.failures.Store(0)
	b.outlier.ejections.Store(int32(n))
	b.outlier.ejectedUntil.Store(until)
}

// Return ends an ejection.
func (b *Backend) Return() { b.outlier.ejectedUntil.Store(0) }

// ForgetFailures ends an ejection and resets all that could lead to one.
func (b *Backend) ForgetFailures() {
	b.outlier.ejectedUntil.Store(0)
	b.outlier.failures.Store(0)
	b.outlier.ejections.Store(0)
}
