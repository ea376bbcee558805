package metrics

import (
	"cmp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"l4proxy/internal/histogram"
)

// Gatherer makes metric families of what a Source knows. It implements prometheus.Gatherer.
type Gatherer struct{ Source Source }

// Gather returns the families, by name. It never fails.
func (g Gatherer) Gather() ([]*dto.MetricFamily, error) {
	b := new(builder)
	b.all(g.Source.Snapshot())
	// The library takes one without metrics for a mistake.
	b.families = slices.DeleteFunc(b.families, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 })
	slices.SortFunc(b.families, func(x, y *dto.MetricFamily) int { return cmp.Compare(x.GetName(), y.GetName()) })
	return b.families, nil
}

// builder collects families. It allocates in large pieces: with 10,000 backends, there are 50,000
// metrics.
type builder struct {
	families   []*dto.MetricFamily
	metrics    slab[dto.Metric]
	counters   slab[dto.Counter]
	gauges     slab[dto.Gauge]
	values     slab[float64]
	pairs      slab[dto.LabelPair]
	words      map[string]*dto.LabelPair // of labels whose values are words
	labelNames map[string]*string
}

// slab allocates values one after another.
type slab[T any] struct{ free []T }

func (s *slab[T]) next() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 256)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

// family is one that is being made; add adds to it.
type family struct {
	b *builder
	d *desc
	f *dto.MetricFamily
}

// family starts a family. One without metrics is left out.
func (b *builder) family(d *desc) family {
	f := &dto.MetricFamily{Name: &d.name, Help: &d.help, Type: &d.kind}
	b.families = append(b.families, f)
	return family{b, d, f}
}

// label makes a pair of a label.
func (b *builder) label(name, value string) *dto.LabelPair {
	if b.labelNames == nil {
		b.labelNames = make(map[string]*string)
	}
	if b.labelNames[name] == nil {
		b.labelNames[name] = &name
	}
	value = strings.ToValidUTF8(value, "\ufffd") // the path of a socket may be anything
	p := b.pairs.next()
	p.Name, p.Value = b.labelNames[name], &value
	return p
}

// word is label for values of a closed list, which are shared.
func (b *builder) word(name, value string) *dto.LabelPair {
	key := name + "=" + value
	if b.words == nil {
		b.words = make(map[string]*dto.LabelPair)
	}
	if b.words[key] == nil {
		b.words[key] = b.label(name, value)
	}
	return b.words[key]
}

// add adds a value. The labels are in the order of desc.
func (f family) add(value float64, labels ...*dto.LabelPair) {
	m, v := f.b.metrics.next(), f.b.values.next()
	*v = value
	m.Label = labels
	if f.d.kind == counter {
		m.Counter = f.b.counters.next()
		m.Counter.Value = v
	} else {
		m.Gauge = f.b.gauges.next()
		m.Gauge.Value = v
	}
	f.f.Metric = append(f.f.Metric, m)
}

// single is a family of one metric without labels.
func (b *builder) single(d *desc, value float64) { b.family(d).add(value) }

// addHistogram adds one with both its classic and its native buckets: the text formats show the
// former, the protobuf format both.
func (f family) addHistogram(s *histogram.Snapshot, labels ...*dto.LabelPair) {
	h := &dto.Histogram{
		SampleCount: new(s.Count()), SampleSum: new(float64(s.Sum) / 1e9), Schema: new(int32(histogram.Schema)),
		ZeroThreshold: new(histogram.ZeroThreshold), ZeroCount: &s.Zero,
	}
	cumulative := uint64(0)
	for i := range s.Bounds {
		cumulative += s.Classic[i]
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &s.Bounds[i], CumulativeCount: new(cumulative)})
	}
	h.PositiveSpan, h.PositiveDelta = spans(s.Buckets)
	if len(h.PositiveSpan) == 0 { // otherwise an empty one would not count as native
		h.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
	m := f.b.metrics.next()
	m.Label, m.Histogram = labels, h
	f.f.Metric = append(f.f.Metric, m)
}

// spans are runs of buckets without a gap. Each bucket is the difference to the one before.
func spans(buckets []histogram.Bucket) (spans []*dto.BucketSpan, deltas []int64) {
	next, before := int32(0), int64(0)
	for i, b := range buckets {
		if i == 0 || b.Index != next {
			spans = append(spans, &dto.BucketSpan{Offset: new(b.Index - next), Length: new(uint32(0))})
		}
		*spans[len(spans)-1].Length++
		deltas = append(deltas, int64(b.Count)-before)
		next, before = b.Index+1, int64(b.Count)
	}
	return spans, deltas
}

// number is a bool as a value.
func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
