// Package backend holds what the proxy knows about one server address: its
// place in the configuration, its live counters, what its health checks say,
// and whether it is in backoff after failed dials or ejected.
//
// Nothing here reads a clock. Times are int64 nanoseconds of the caller's
// monotonic clock.
package backend

import "sync/atomic"

// cacheLine is the line size of amd64 and of most arm64 processors.
const cacheLine = 64

// Backend is one server address of a pool. It is used by pointer and must not
// be copied.
//
// It fills three cache lines. The configured values, which every loop reads, are
// on the first and stay shared between CPUs; the counters, which every
// connection writes, are on the second; what every answer reads, and few
// answers change, is on the third. Backends allocated one by one are 64-byte
// aligned, so that neighbours share no line.
type Backend struct {
	// Address is the server address as configured.
	Address string
	// Pool is the name of the pool it belongs to.
	Pool string
	// Weight is its share of the pool's connections, relative to the others.
	Weight int
	// Index is its place in its pool, from 0.
	Index int
	// MaxConnections is the most connections at once; 0 means no bound.
	MaxConnections int32
	// Priority orders the backends of a pool: those of the lowest number serve
	// while one of them can, the others are its backups.
	Priority uint8
	// Far backends are in another zone than the proxy. Among those of one
	// priority, the near ones serve while one of them can.
	Far bool

	health atomic.Uint32 // a Health

	_ [cacheLine - 60]byte

	active      atomic.Int64
	total       atomic.Uint64
	dialsOK     atomic.Uint64
	dialsFailed atomic.Uint64
	backoff     backoff

	_ [cacheLine - 48]byte

	outlier outlier

	_ [cacheLine - 24]byte
}

// Acquire counts one more connection and returns how many there are now.
func (b *Backend) Acquire() int64 {
	b.total.Add(1)
	return b.active.Add(1)
}

// Release takes back one Acquire and returns how many connections are left.
// It panics if there was none: a count below zero would attract every new
// client and never show.
func (b *Backend) Release() int64 {
	n := b.active.Add(-1)
	if n < 0 {
		panic("backend: Release without Acquire on " + b.Address)
	}
	return n
}

// Active returns the number of connections, those being dialled included.
func (b *Backend) Active() int64 { return b.active.Load() }

// Total returns how many connections and attempts were ever counted here.
func (b *Backend) Total() uint64 { return b.total.Load() }

// DialOK counts a dial that was answered.
func (b *Backend) DialOK() { b.dialsOK.Add(1) }

// DialFailed counts a dial that was refused or timed out. The left-aside state
// is Fail's.
func (b *Backend) DialFailed() { b.dialsFailed.Add(1) }

// Dials returns how many dials were answered, and how many were refused or
// timed out.
func (b *Backend) Dials() (ok, failed uint64) {
	return b.dialsOK.Load(), b.dialsFailed.Load()
}
