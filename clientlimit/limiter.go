// Package clientlimit limits how many connections each client may have at once, and how many new
// ones per second. A client is an address or, with shorter prefixes, a network.
//
// What is known about clients is in two kinds of tables:
//   - counts.go: the clients that have connections, and how many. The table is exact. It has no
//     more entries than there are connections, so max_connections bounds it.
//   - rates.go: the clients that connected recently. The table has a fixed size, whatever the
//     number of clients.
//
// Both are divided into shards by a hash with a random seed. A connection takes the lock of one
// shard, twice: when it begins and when it ends. Without the seed, an attacker cannot find clients
// that share a shard, or a set of entries.
package clientlimit

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are those of each client. The zero value limits nothing.
type Limits struct {
	// Connections is the most connections at once; 0 means no limit.
	Connections int
	// Rate is how many new connections per second a client may open; 0 means no limit. Burst is how
	// many it may open at once after a pause, 1 or more. Connections that are refused do not count.
	Rate  float64
	Burst int
}

// Prefixes say what is one client: the addresses that have this number of leading bits in common,
// from 1 to 32 and from 1 to 128.
type Prefixes struct{ IPv4, IPv6 int }

// Verdict is what becomes of a new connection.
type Verdict uint8

// The verdicts.
const (
	Counted         Verdict = iota // the connection is within the limits, and counts until Release
	CountedUnrated                 // the same, but the table of recent clients had no room for this one
	OverConnections                // the client has Limits.Connections already
	OverRate                       // the client connects faster than Limits.Rate
)

// Limiter keeps track of clients. It is live: it outlives the configuration that set its limits.
// Any goroutine may use it.
type Limiter struct {
	prefixes Prefixes
	mask4    key
	mask6    key
	seed     maphash.Seed
	limits   atomic.Pointer[limits]
	clients  atomic.Int64 // with connections
	shards   [shards]shard
}

const shards = 256

// shard is a part of the tables. It fills two cache lines, so that loops in different shards do not
// slow each other down.
type shard struct {
	mu     sync.Mutex
	counts counts
	rates  rates
	_      [128 - 8 - 32 - 24]byte
}

// limits are Limits in the units in which they are compared.
type limits struct {
	Limits
	most     uint32
	interval int64 // ns that pay for one connection; 0: no limit of the rate
	capacity int64 // ns that a client may owe: those for Burst connections
}

// key is the prefix of a client, as 16 bytes. An IPv4 address is IPv4-mapped.
type key struct{ hi, lo uint64 }

// New returns a Limiter without limits. It counts connections all the same, so that a limit that is
// set later counts those that are open.
func New(p Prefixes) *Limiter {
	l := &Limiter{prefixes: p, mask4: mask(96 + p.IPv4), mask6: mask(p.IPv6), seed: maphash.MakeSeed()}
	l.limits.Store(new(limits))
	return l
}

// mask has ones in the first bits.
func mask(bits int) key {
	return key{^uint64(0) << (64 - min(bits, 64)), ^uint64(0) << (128 - max(bits, 64))}
}

// Prefixes are those that were given to New.
func (l *Limiter) Prefixes() Prefixes { return l.prefixes }

// SetLimits changes the limits. Connections beyond a lower limit stay. A client that owes more than
// a lower limit allows owes that much from now on.
func (l *Limiter) SetLimits(to Limits) {
	next := &limits{Limits: to, most: uint32(min(max(to.Connections, 0), math.MaxUint32))}
	if to.Rate > 0 {
		next.interval = max(1, int64(math.Round(float64(time.Second)/to.Rate)))
		next.capacity = next.interval * int64(max(to.Burst, 1))
	}
	limited := l.limits.Load().interval > 0
	if next.interval > 0 && !limited {
		l.eachShard(func(s *shard) { s.rates = newRates() })
	}
	l.limits.Store(next)
	if next.interval == 0 && limited {
		l.eachShard(func(s *shard) { s.rates = nil })
	}
}

// Limits are those in effect.
func (l *Limiter) Limits() Limits { return l.limits.Load().Limits }

// Take counts a new connection of a client if it is within the limits. Each one that is counted
// needs a Release. now is a time of a monotonic clock, in nanoseconds.
func (l *Limiter) Take(client netip.Addr, now int64) Verdict {
	k := l.key(client)
	h := l.hash(k)
	s := &l.shards[h>>(64-8)]
	limits := l.limits.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	if limits.most > 0 && s.counts.of(k, h) >= limits.most {
		return OverConnections
	}
	verdict := Counted
	if limits.interval > 0 && s.rates != nil {
		if verdict = s.rates.take(h, now, limits); verdict == OverRate {
			return OverRate
		}
	}
	l.count(s, k, h)
	return verdict
}

// Adopt counts a connection that exists already, even beyond the limits. It needs a Release too.
func (l *Limiter) Adopt(client netip.Addr) {
	k := l.key(client)
	h := l.hash(k)
	s := &l.shards[h>>(64-8)]
	s.mu.Lock()
	defer s.mu.Unlock()
	l.count(s, k, h)
}

func (l *Limiter) count(s *shard, k key, h uint64) {
	if s.counts.add(k, h) {
		l.clients.Add(1)
	}
}

// Release ends what Take or Adopt has counted. It panics if there was nothing: a count below zero
// would let the client have more connections than it may, and nothing would show it.
func (l *Limiter) Release(client netip.Addr) {
	k := l.key(client)
	h := l.hash(k)
	s := &l.shards[h>>(64-8)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts.remove(k, h) {
		l.clients.Add(-1)
	}
}

// Clients is the number of clients that have connections.
func (l *Limiter) Clients() int64 { return l.clients.Load() }

// Recent is the number of clients whose rate the Limiter keeps: those that connected so recently
// that they may not open Burst connections at once. No more than Capacity fit.
func (l *Limiter) Recent(now int64) (n int) {
	l.eachShard(func(s *shard) { n += s.rates.owing(now) })
	return n
}

// Usage is how much a client uses of its limits.
type Usage struct {
	Prefix      netip.Prefix // the client
	Connections int
	// Recent is how much of Burst is used up; it shrinks by Rate.
	Recent int
	Limits Limits
	// Verdict is that of the next Take.
	Verdict Verdict
}

// Explain returns what a client uses, and changes nothing.
func (l *Limiter) Explain(client netip.Addr, now int64) Usage {
	k := l.key(client)
	h := l.hash(k)
	s := &l.shards[h>>(64-8)]
	limits := l.limits.Load()
	u := Usage{Prefix: l.prefix(client), Limits: limits.Limits}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.counts.of(k, h)
	u.Connections = int(n)
	owed := int64(0)
	if limits.interval > 0 && s.rates != nil {
		owed = s.rates.owed(h, now, limits)
		u.Recent = int((owed + limits.interval - 1) / limits.interval)
	}
	switch {
	case limits.most > 0 && n >= limits.most:
		u.Verdict = OverConnections
	case owed+limits.interval > limits.capacity:
		u.Verdict = OverRate
	}
	return u
}

// prefix is the network that counts as the client.
func (l *Limiter) prefix(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := l.prefixes.IPv6
	if client.Is4() {
		bits = l.prefixes.IPv4
	}
	p, _ := client.Prefix(bits) // invalid only if the client is
	return p
}

func (l *Limiter) key(client netip.Addr) key {
	mask := &l.mask6
	if client.Is4() || client.Is4In6() {
		mask = &l.mask4
	}
	b := client.As16()
	return key{binary.BigEndian.Uint64(b[:8]) & mask.hi, binary.BigEndian.Uint64(b[8:]) & mask.lo}
}

func (l *Limiter) hash(k key) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], k.hi)
	binary.LittleEndian.PutUint64(b[8:], k.lo)
	return maphash.Bytes(l.seed, b[:])
}

// eachShard calls f with one shard after another, each under its lock.
func (l *Limiter) eachShard(f func(*shard)) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		f(s)
		s.mu.Unlock()
	}
}
