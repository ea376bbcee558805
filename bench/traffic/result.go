package traffic

import (
	"cmp"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ClientResult is what a client found.
type ClientResult struct {
	// Seconds is the length of the measured part. Operations, BytesIn, BytesOut, CPUSeconds and PerSecond are of it.
	Seconds float64 `json:"seconds"`
	// Operations ended in the measured part; for Idle, connections that had their request.
	Operations uint64 `json:"operations"`
	// Failed are the failures of the whole run, and Failures the same by what happened.
	Failed   uint64            `json:"failed"`
	Failures map[string]uint64 `json:"failures,omitempty"`
	// Unanswered operations were due before the end and had not ended [drainTime] after it.
	Unanswered uint64 `json:"unanswered"`
	// BytesIn were received. BytesOut were taken by the kernel.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// Latency is that of operations that ended since the measured part began, and of those unanswered, with the time
	// that they had waited. A Request lasts until its response is complete, a Connection from connecting until the
	// origin's end was seen, and both count from the intended time where there is a rate.
	Latency Percentiles `json:"latency"`
	// Late is how much later than intended operations were begun that found a connection free.
	Late Percentiles `json:"late"`
	// CPUSeconds is user and system time of the process (getrusage(2)).
	CPUSeconds float64 `json:"cpu_seconds"`
	// PerSecond is the operations that ended in each second; for Send and Receive, the bytes. None for Idle.
	PerSecond []uint64 `json:"per_second,omitempty"`
	// Began is the time by [Now] when the measured part did.
	Began int64 `json:"began_ns"`
	// Visits are those that began in the measured part, in the order in which they did.
	Visits []Visited `json:"visits,omitempty"`
}

// Visited is what became of one Visit.
type Visited struct {
	Began int64 `json:"began_ns"` // the time by [Now] when it began to connect
	// Connect is the time until it was connected, 0 if it never was; Took until it had the whole answer, or failed.
	Connect time.Duration `json:"connect_ns,omitempty"`
	Took    time.Duration `json:"took_ns"`
	Backend int           `json:"backend,omitempty"` // the number of who answered; 0: nobody
	Failure string        `json:"failure,omitempty"` // "": it had its answer
}

// Percentiles of Count times, in milliseconds.
type Percentiles struct {
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
	Count uint64  `json:"count"`
}

// longest is the longest time that a histogram holds, in microseconds. What is longer counts as this.
const longest = int64(time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

// recordTime adds a time in nanoseconds.
func recordTime(h *hdrhistogram.Histogram, ns int64) {
	if err := h.RecordValue(min(max(ns, 0)/int64(time.Microsecond), longest)); err != nil {
		panic(err) // only for a value outside of what the histogram was made for
	}
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	at := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1e3 }
	return Percentiles{
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1e3, Count: uint64(h.TotalCount()),
	}
}

// record is what one loop has counted. Nobody else looks before the loop has ended.
type record struct {
	latency, late *hdrhistogram.Histogram
	operations    uint64
	failed        uint64
	failures      map[string]uint64
	unanswered    uint64
	bytesIn       uint64
	bytesOut      uint64
	perSecond     []uint64
	visits        []Visited // Began is by Now
}

func newRecord(seconds int) record {
	return record{
		latency: newHistogram(), late: newHistogram(),
		failures: make(map[string]uint64), perSecond: make([]uint64, 0, seconds),
	}
}

// mostFailureKinds bounds the sentences of a result.
const mostFailureKinds = 8

const otherFailures = "other failures"

func (r *record) fault(sentence string) {
	r.failed++
	r.failures[kindIn(r.failures, sentence)]++
}

// kindIn is sentence, unless it is a new one and there are enough.
func kindIn(failures map[string]uint64, sentence string) string {
	if _, known := failures[sentence]; !known && len(failures) >= mostFailureKinds {
		return otherFailures
	}
	return sentence
}

// inSecond adds n to the second that began at so many nanoseconds after the start of the measured part.
func (r *record) inSecond(ns int64, n uint64) {
	second := int(ns / int64(time.Second))
	for len(r.perSecond) <= second {
		r.perSecond = append(r.perSecond, 0)
	}
	r.perSecond[second] += n
}

// merge adds what another loop has counted.
func (r *record) merge(other *record) {
	// Both histograms were made alike, so nothing can be dropped.
	r.latency.Merge(other.latency)
	r.late.Merge(other.late)
	r.operations += other.operations
	r.failed += other.failed
	r.unanswered += other.unanswered
	r.bytesIn += other.bytesIn
	r.bytesOut += other.bytesOut
	for sentence, n := range other.failures {
		r.failures[kindIn(r.failures, sentence)] += n
	}
	r.visits = append(r.visits, other.visits...)
	for second, n := range other.perSecond {
		r.inSecond(int64(second)*int64(time.Second), n)
	}
}

func (r *record) result() ClientResult {
	result := ClientResult{
		Operations: r.operations, Failed: r.failed, Unanswered: r.unanswered,
		BytesIn: r.bytesIn, BytesOut: r.bytesOut,
		Latency: percentiles(r.latency), Late: percentiles(r.late),
		PerSecond: r.perSecond, Visits: r.visits,
	}
	slices.SortStableFunc(result.Visits, func(a, b Visited) int { return cmp.Compare(a.Began, b.Began) })
	if r.failed > 0 {
		result.Failures = r.failures
	}
	return result
}
