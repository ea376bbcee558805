// Package backend holds the live state of one server address: its counters, its health, and whether
// it is in backoff after failed dials or ejected. What a pool configures for it, such as its
// weight, is in balancer.Member.
//
// Nothing here reads a clock. Times are int64 nanoseconds of the caller's monotonic clock.
package backend

import (
	"sync/atomic"

	"l4proxy/internal/rawsys"
)

// cacheLine is the line size of amd64 and of most arm64 processors.
const cacheLine = 64

// Backend is one server address of a pool. It is used by pointer and must not be copied.
//
// It fills three cache lines, by how often they are written:
//   - The first is hardly ever written, so all CPUs share it.
//   - Every connection writes the second.
//   - Every answer reads the third, and few answers change it.
//
// The Go runtime aligns a Backend that is allocated by itself to 64 bytes, so neighbours share no
// line.
type Backend struct {
	// Address is the server address as configured, Sockaddr the same in the kernel's form.
	Address  string
	Sockaddr *rawsys.Sockaddr

	health atomic.Uint32 // a Health
	admin  atomic.Uint32 // an Admin
	failed atomic.Pointer[failedDials]

	_ [cacheLine - 40]byte

	active      atomic.Int64
	total       atomic.Uint64
	dialsOK     atomic.Uint64
	dialsFailed atomic.Uint64
	backoff     backoff

	_ [cacheLine - 48]byte

	outlier outlier
	trouble trouble

	_ [cacheLine - 48]byte
}

// Reset drops the backoff, the ejection and the drain of a backend that has left its pool. The
// counters stay: its connections have not ended. It is called under the lock of the balancer that
// it leaves.
func (b *Backend) Reset() {
	b.backoff.failures.Store(0)
	b.backoff.probing.Store(false)
	b.backoff.until.Store(0)
	b.ForgetFailures()
	b.SetAdmin(AdminUp)
}

// Acquire counts one more connection and returns how many there are now.
func (b *Backend) Acquire() int64 {
	b.total.Add(1)
	return b.active.Add(1)
}

// Release takes back one Acquire and returns how many connections are left. It panics if there was
// none: a count below zero would attract every new client, and nothing would show it.
func (b *Backend) Release() int64 {
	n := b.active.Add(-1)
	if n < 0 {
		panic("backend: Release without Acquire on " + b.Address)
	}
	return n
}

// Active returns the number of connections, including those being dialled.
func (b *Backend) Active() int64 { return b.active.Load() }

// Total returns how many connections and dials were ever counted here.
func (b *Backend) Total() uint64 { return b.total.Load() }

// DialOK counts a dial that was answered.
func (b *Backend) DialOK() { b.dialsOK.Add(1) }

// DialFailed counts a dial that was refused or timed out. Fail acts on it.
func (b *Backend) DialFailed() { b.dialsFailed.Add(1) }

// Dials returns how many dials were answered, and how many were refused or timed out.
func (b *Backend) Dials() (ok, failed uint64) {
	return b.dialsOK.Load(), b.dialsFailed.Load()
}
