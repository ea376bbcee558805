// Package histogram counts durations in buckets: in a few with round bounds, and in many whose
// bounds grow exponentially. Prometheus calls these classic and native histograms
// (https://prometheus.io/docs/specs/native_histograms/).
package histogram

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Schema is that of the exponential buckets: each bound is 2^(1/2^Schema) times the one before,
// 9 % more.
const Schema = 3

const (
	perOctave = 1 << Schema
	// Durations up to 2^minExponent s, about 1 µs, count as zero. Those above 2^maxExponent s, 388
	// days, count as that.
	minExponent, maxExponent = -20, 25
	octaves                  = maxExponent - minExponent
)

// ZeroThreshold is the largest duration in the bucket for zero, in seconds.
const ZeroThreshold = 1.0 / (1 << -minExponent)

// fractions are the upper bounds of the buckets within an octave, as math.Frexp returns them:
// (0.5, 1].
var fractions = func() (all [perOctave]float64) {
	for i := range all {
		all[i] = math.Exp2(float64(i+1)/perOctave - 1)
	}
	return all
}()

// Histogram counts durations. One goroutine at a time writes it, without locked instructions; any
// may read it. The zero value is ready for use, and takes little memory until something is counted.
type Histogram struct {
	sum     atomic.Uint64 // ns
	zero    atomic.Uint64
	octaves atomic.Pointer[[octaves]atomic.Pointer[octave]]
	classic atomic.Pointer[[]atomic.Uint64] // by bound
}

type octave [perOctave]atomic.Uint64

// Bounds are the upper bounds of the classic buckets, in seconds, in ascending order. All
// Histograms that are added up have the same.
type Bounds []float64

func add(n *atomic.Uint64, delta uint64) { n.Store(n.Load() + delta) }

// Observe counts a duration. A negative one counts as zero.
func (h *Histogram) Observe(bounds Bounds, d time.Duration) {
	d = max(d, 0)
	add(&h.sum, uint64(d))
	seconds := d.Seconds()
	// The classic buckets last, and read first: so no reader sees more there than in all.
	add(h.bucket(seconds), 1)
	if i, _ := slices.BinarySearch(bounds, seconds); i < len(bounds) {
		classic := h.classic.Load()
		if classic == nil {
			all := make([]atomic.Uint64, len(bounds))
			classic = &all
			h.classic.Store(classic)
		}
		add(&(*classic)[i], 1)
	}
}

// bucket returns the exponential bucket of a duration.
func (h *Histogram) bucket(seconds float64) *atomic.Uint64 {
	if seconds <= ZeroThreshold {
		return &h.zero
	}
	all := h.octaves.Load()
	if all == nil {
		all = new([octaves]atomic.Pointer[octave])
		h.octaves.Store(all)
	}
	fraction, exponent := math.Frexp(seconds) // in [0.5, 1): a power of 2 belongs to the octave below
	if fraction == 0.5 {
		fraction, exponent = 1, exponent-1
	}
	if exponent > maxExponent {
		fraction, exponent = 1, maxExponent
	}
	at := exponent - minExponent - 1
	of := all[at].Load()
	if of == nil {
		of = new(octave)
		all[at].Store(of)
	}
	i := 0
	for fraction > fractions[i] {
		i++
	}
	return &of[i]
}
