package histogram

import (
	"math"
	"slices"
)

// A Snapshot is what a Histogram has counted, or several of them together. Its JSON form is part of
// the hand-over format (docs/handover.md): fields are added, never renamed.
type Snapshot struct {
	Sum  uint64 `json:"sum"` // ns
	Zero uint64 `json:"zero,omitempty"`
	// Buckets are the exponential buckets that are not empty, by index in ascending order. The
	// upper bound of index i is 2^(i/8) s.
	Buckets []Bucket `json:"buckets,omitempty"`
	// Bounds are those of Classic, which are counts of single buckets, not cumulative. What is
	// above the last bound is only in Buckets.
	Bounds  Bounds   `json:"bounds,omitempty"`
	Classic []uint64 `json:"classic,omitempty"`
}

// Bucket is an exponential bucket.
type Bucket struct {
	Index int32  `json:"i"`
	Count uint64 `json:"n"`
}

// Sum adds up Histograms that were observed with the same bounds.
func Sum(bounds Bounds, all ...*Histogram) Snapshot {
	s := Snapshot{Bounds: bounds, Classic: make([]uint64, len(bounds))}
	for _, h := range all { // first: see Observe
		if classic := h.classic.Load(); classic != nil {
			for i := range *classic {
				s.Classic[i] += (*classic)[i].Load()
			}
		}
	}
	var counts [octaves * perOctave]uint64
	for _, h := range all {
		s.Zero += h.zero.Load()
		s.Sum += h.sum.Load()
		of := h.octaves.Load()
		if of == nil {
			continue
		}
		for i := range of {
			if octave := of[i].Load(); octave != nil {
				for j := range octave {
					counts[i*perOctave+j] += octave[j].Load()
				}
			}
		}
	}
	for i, n := range counts {
		if n > 0 {
			s.Buckets = append(s.Buckets, Bucket{int32(i + minExponent*perOctave + 1), n})
		}
	}
	return s
}

// Count is the number of durations.
func (s *Snapshot) Count() uint64 {
	n := s.Zero
	for _, b := range s.Buckets {
		n += b.Count
	}
	return n
}

// Add adds another Snapshot, such as that of an earlier process. If it has other bounds, it is left
// out: its classic buckets would not fit.
func (s *Snapshot) Add(other *Snapshot) {
	if other == nil || !slices.Equal(s.Bounds, other.Bounds) || len(other.Classic) != len(s.Classic) || !other.valid() {
		return
	}
	s.Sum += other.Sum
	s.Zero += other.Zero
	s.Classic = slices.Clone(s.Classic)
	for i, n := range other.Classic {
		s.Classic[i] += n
	}
	s.Buckets = merge(s.Buckets, other.Buckets)
}

// valid reports whether the buckets are in order, as of a process that wrote them correctly.
func (s *Snapshot) valid() bool {
	for i, b := range s.Buckets {
		if i > 0 && b.Index <= s.Buckets[i-1].Index || b.Index <= minExponent*perOctave || b.Index > maxExponent*perOctave {
			return false
		}
	}
	return true
}

func merge(a, b []Bucket) []Bucket {
	all := make([]Bucket, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Index < b[0].Index:
			all, a = append(all, a[0]), a[1:]
		case a[0].Index > b[0].Index:
			all, b = append(all, b[0]), b[1:]
		default:
			all = append(all, Bucket{a[0].Index, a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// Since returns what was counted after an earlier Snapshot of the same Histograms.
func (s *Snapshot) Since(earlier *Snapshot) Snapshot {
	diff := Snapshot{Sum: less(s.Sum, earlier.Sum), Zero: less(s.Zero, earlier.Zero)}
	before := earlier.Buckets
	for _, b := range s.Buckets {
		for len(before) > 0 && before[0].Index < b.Index {
			before = before[1:]
		}
		n := b.Count
		if len(before) > 0 && before[0].Index == b.Index {
			n = less(n, before[0].Count)
		}
		if n > 0 {
			diff.Buckets = append(diff.Buckets, Bucket{b.Index, n})
		}
	}
	return diff
}

// less is a-b, or 0 if the counter has begun again.
func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// Quantile returns an estimate of the quantile q, from 0 to 1, in seconds: at most 9 % more than
// the true one. It is 0 if nothing was counted.
func (s *Snapshot) Quantile(q float64) float64 {
	rank := uint64(math.Ceil(q * float64(s.Count())))
	seen := s.Zero
	if rank <= seen {
		return 0
	}
	for _, b := range s.Buckets {
		if seen += b.Count; seen >= rank {
			return UpperBound(b.Index)
		}
	}
	return 0
}

// UpperBound is the upper bound of an exponential bucket, in seconds.
func UpperBound(index int32) float64 { return math.Exp2(float64(index) / perOctave) }
