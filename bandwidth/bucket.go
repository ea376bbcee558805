package bandwidth

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// depthPart: a bucket holds the bytes of a second divided by this, 200 ms. So a limit is
	// exceeded by at most 2 % over 10 s. A loop that is late by more than that, less a quantum,
	// falls behind the limit.
	depthPart = 5
	// creditPart is the part of a second whose bytes a flow may be behind the others and catch up.
	creditPart = 16
	// A flow that waits gets a quantum at a time: large enough that moving it is worth a system
	// call or two, small enough that others soon get theirs.
	quantumPart = 16       // at most this part of a second
	quantumTick = 100      // this part of a second, if that is more than
	quantumFrom = 16 << 10 // this
	quantumMost = 256 << 10
	quantumLow  = 4 << 10 // with many flows waiting, not below this (unless quantumPart is)
)

// A Rate is a limit in bytes per second; 0 means none. It may change at any time.
type Rate struct{ atomic.Int64 }

// A Bucket is a token bucket whose tokens are bytes, and the queue of the flows that wait for them.
// Any goroutine may use it.
//
// Flows are served by start-time fair queueing (Goyal, Vin and Chen, "Start-time Fair Queueing",
// SIGCOMM 1996): each flow counts what it was given, and the one that has been given the least is
// next. So flows that always have more to move get equal shares, and a flow that moves little is
// served before them.
type Bucket struct {
	rate *Rate

	mu      sync.Mutex
	tokens  float64 // negative after more was moved than was granted
	at      int64   // when tokens was computed; 0: the bucket is full
	virtual uint64  // what a flow has been given that has always waited, in bytes
	waiting Queue[*Turn]
	alarm   bool // a caller will call Serve
}

// NewBucket returns a full bucket.
func NewBucket(rate *Rate) *Bucket { return &Bucket{rate: rate} }

// A Turn is the share of one flow in one bucket. Its fields are guarded by the bucket.
type Turn struct {
	// Owner is the flow, for the caller. It must not change while the turn waits.
	Owner any

	bucket  *Bucket
	finish  uint64 // what the flow has been given, on the scale of Bucket.virtual
	most    int    // that it can use
	handle  int    // in Bucket.waiting
	waiting bool
	since   int64
	granted int
	waited  time.Duration
}

// Join makes the turn one at bucket b.
func (t *Turn) Join(b *Bucket) { t.bucket = b }

// Bucket is the bucket that the turn has joined, nil if none.
func (t *Turn) Bucket() *Bucket { return t.bucket }

// Granted is how many bytes a turn that has waited was given, and for how long it has waited.
func (t *Turn) Granted() (n int, waited time.Duration) { return t.granted, t.waited }

// Limited reports whether the bucket has a limit now.
func (t *Turn) Limited() bool { return t.bucket != nil && t.bucket.rate.Load() > 0 }

// Take takes up to most bytes, at least 1, from the bucket. If it returns n = 0, the turn waits.
// With wake, the caller must call Serve at that time; otherwise another caller will.
func (t *Turn) Take(most int, now int64) (n int, wake int64) {
	b := t.bucket
	if b.rate.Load() == 0 {
		return most, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := b.fill(now)
	start := b.start(t, rate)
	first := b.waiting.Len() == 0
	if !first {
		_, head := b.waiting.First()
		first = int64(start-head) < 0
	}
	if first && b.tokens >= min(float64(most), quantum(rate, 1)) {
		n = int(min(float64(most), b.tokens))
		b.tokens -= float64(n)
		// The virtual time stands still: another flow may be about to take its turn, and must not
		// lose what this one gets ahead of it. A flow that is alone for long must not fall behind
		// later ones by more than a bucket.
		lead := min(int64(start-b.virtual)+int64(n), int64(rate)/depthPart)
		t.finish = b.virtual + uint64(lead)
		return n, 0
	}
	t.waiting, t.most, t.since = true, most, now
	t.handle = b.waiting.Push(start, t)
	if b.alarm {
		return 0, 0
	}
	b.alarm = true
	return 0, b.due(rate, now)
}

// start is where a turn begins on the scale of virtual. A flow that is behind gets credit for what
// it has not used, up to creditPart: it may only have been busy with moving what it had.
func (b *Bucket) start(t *Turn, rate float64) uint64 {
	least := b.virtual - uint64(rate)/creditPart
	if int64(t.finish-least) < 0 {
		return least
	}
	return t.finish
}

// Serve gives the bucket's tokens to the turns that wait, and appends those that are served to
// granted. If some still wait, the caller must call Serve again at wake.
func (b *Bucket) Serve(now int64, granted []*Turn) (served []*Turn, wake int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := b.fill(now)
	for {
		waiting := b.waiting.Len()
		if waiting == 0 {
			b.alarm = false
			return granted, 0
		}
		t, start := b.waiting.First()
		n := t.most
		if rate > 0 {
			need := min(float64(t.most), quantum(rate, waiting))
			if b.tokens < need {
				return granted, b.due(rate, now)
			}
			n = int(min(float64(t.most), max(need, b.tokens/float64(waiting))))
			b.tokens -= float64(n)
		}
		b.waiting.Pop()
		if int64(start-b.virtual) > 0 {
			b.virtual = start
		}
		t.finish = start + uint64(n)
		t.waiting, t.granted, t.waited = false, n, time.Duration(now-t.since)
		granted = append(granted, t)
	}
}

// due is when the first turn can be served. At least one waits.
func (b *Bucket) due(rate float64, now int64) int64 {
	t, _ := b.waiting.First()
	need := min(float64(t.most), quantum(rate, b.waiting.Len()))
	return now + max(0, int64(math.Ceil((need-b.tokens)/rate*1e9)))
}

// Refund gives back n bytes that were granted and not moved. A negative n charges for bytes that
// were moved without a grant: the next turns wait for them.
func (t *Turn) Refund(n int) {
	b := t.bucket
	if b == nil || n == 0 || b.rate.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens += float64(n)
	t.finish -= uint64(n) // wraps around as it should
}

// Withdraw ends the wait of a turn, if it waits. It returns false if the turn has been served: its
// grant is on the way to the caller.
func (t *Turn) Withdraw() bool {
	b := t.bucket
	b.mu.Lock()
	defer b.mu.Unlock()
	if !t.waiting {
		return false
	}
	t.waiting = false
	b.waiting.Remove(t.handle)
	return true
}

// fill adds the tokens of the time since the last call, and returns the rate. Loops read the clock
// at different times, so now may be earlier than that call.
func (b *Bucket) fill(now int64) (rate float64) {
	rate = float64(b.rate.Load())
	depth := max(rate/depthPart, 1)
	switch {
	case b.at == 0:
		b.at, b.tokens = now, depth
	case now > b.at:
		b.tokens = min(depth, b.tokens+rate*float64(now-b.at)/1e9)
		b.at = now
	}
	return rate
}

// quantum is how many bytes a flow gets at a time while that number of flows wait.
func quantum(rate float64, waiting int) float64 {
	most := min(max(rate/quantumTick, quantumFrom), rate/quantumPart, quantumMost)
	share := max(rate/quantumPart/float64(waiting), quantumLow)
	return max(1, min(most, share))
}
