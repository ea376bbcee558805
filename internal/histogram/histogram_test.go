package histogram

import (
	"encoding/json"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

var bounds = Bounds{0.001, 0.01, 0.1, 1, 10}

// TestLikePrometheus holds the buckets to those of Prometheus's own histogram.
func TestLikePrometheus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
			Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: ZeroThreshold,
		})
		var ours Histogram
		durations := rapid.SliceOf(rapid.OneOf(
			rapid.Int64Range(0, int64(100*time.Second)),
			rapid.Int64Range(0, int64(10*time.Microsecond)),
			rapid.SampledFrom([]int64{0, 1e6, 1e7, 1e8, 1e9, 1e10, 5e8, 25e7, int64(24 * time.Hour)}),
		)).Draw(t, "durations")
		for _, d := range durations {
			ours.Observe(bounds, time.Duration(d))
			theirs.Observe(time.Duration(d).Seconds())
		}
		var want dto.Metric
		if err := theirs.Write(&want); err != nil {
			t.Fatal(err)
		}
		h, got := want.Histogram, Sum(bounds, &ours)
		if got.Count() != h.GetSampleCount() || got.Zero != h.GetZeroCount() || math.Abs(float64(got.Sum)/1e9-h.GetSampleSum()) > 1e-6 {
			t.Errorf("count, zero, sum = %d, %d, %d ns, want %v", got.Count(), got.Zero, got.Sum, h)
		}
		if h.GetSchema() != Schema {
			t.Fatalf("Prometheus uses the schema %d", h.GetSchema())
		}
		if buckets := nativeBuckets(h); !slices.Equal(got.Buckets, buckets) {
			t.Errorf("buckets = %v, want %v", got.Buckets, buckets)
		}
		cumulative := uint64(0)
		for i, b := range h.Bucket {
			if cumulative += got.Classic[i]; cumulative != b.GetCumulativeCount() {
				t.Errorf("%d up to %v, want %d", cumulative, bounds[i], b.GetCumulativeCount())
			}
		}
	})
}

// nativeBuckets reads spans and deltas.
func nativeBuckets(h *dto.Histogram) (all []Bucket) {
	index, count, next := int32(0), int64(0), 0
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += h.PositiveDelta[next]
			if count > 0 {
				all = append(all, Bucket{index, uint64(count)})
			}
			next, index = next+1, index+1
		}
	}
	return all
}

func TestExtremes(t *testing.T) {
	var h Histogram
	h.Observe(bounds, -time.Second)
	h.Observe(bounds, math.MaxInt64)
	s := Sum(bounds, &h)
	if s.Zero != 1 || len(s.Buckets) != 1 || s.Buckets[0] != (Bucket{maxExponent * perOctave, 1}) || !s.valid() {
		t.Errorf("%+v", s)
	}
}

// TestReadWhileWritten: no reader sees more in the classic buckets than in all.
func TestReadWhileWritten(t *testing.T) {
	var h Histogram
	const n = 300_000
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range n {
			h.Observe(bounds, time.Duration(i)*time.Microsecond)
		}
	})
	for over := false; !over; {
		s := Sum(bounds, &h)
		classic := uint64(0)
		for _, c := range s.Classic {
			classic += c
		}
		if classic > s.Count() {
			t.Fatalf("%d in classic buckets, %d in all", classic, s.Count())
		}
		over = s.Count() == n
	}
	writer.Wait()
}

func TestCarriedOn(t *testing.T) {
	var a, b, both Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Observe(bounds, d)
		if i%3 == 0 {
			a.Observe(bounds, d)
		} else {
			b.Observe(bounds, d)
		}
	}
	text, err := json.Marshal(Sum(bounds, &a))
	if err != nil {
		t.Fatal(err)
	}
	var carried Snapshot
	if err := json.Unmarshal(text, &carried); err != nil {
		t.Fatal(err)
	}
	sum, want := Sum(bounds, &b), Sum(bounds, &both)
	added := sum
	added.Add(&carried)
	if !slices.Equal(added.Buckets, want.Buckets) || !slices.Equal(added.Classic, want.Classic) || added.Sum != want.Sum {
		t.Errorf("carried on: %v, want %v", added, want)
	}
	if diff := added.Since(&carried); !slices.Equal(diff.Buckets, sum.Buckets) {
		t.Errorf("the difference is %v, want %v", diff.Buckets, sum.Buckets)
	}
	// What does not fit is left out.
	for _, bad := range []Snapshot{
		{Sum: 1, Zero: 1, Bounds: Bounds{1}, Classic: []uint64{1}},
		{Zero: 1, Bounds: bounds, Classic: []uint64{1}},
		{Bounds: bounds, Classic: make([]uint64, len(bounds)), Buckets: []Bucket{{5, 1}, {4, 1}}},
		{Bounds: bounds, Classic: make([]uint64, len(bounds)), Buckets: []Bucket{{math.MaxInt32, 1}}},
	} {
		same := sum
		if same.Add(&bad); same.Count() != sum.Count() {
			t.Errorf("%+v was added", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h Histogram
	if empty := Sum(bounds, &h); empty.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing is not 0")
	}
	for i := 1; i <= 1000; i++ {
		h.Observe(bounds, time.Duration(i)*time.Millisecond)
	}
	s := Sum(bounds, &h)
	for q, want := range map[float64]float64{0.5: 0.5, 0.99: 0.99, 1: 1} {
		if got := s.Quantile(q); got < want || got > want*1.1 {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for i := range b.N {
		h.Observe(bounds, time.Duration(i%1000)*37*time.Microsecond)
	}
}
