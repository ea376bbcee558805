package traffic

import (
	"cmp"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ClientResult is what a client measured.
type ClientResult struct {
	// Seconds is the length of the measured part, which Operations, BytesIn, BytesOut, CPUSeconds
	// and PerSecond are about.
	Seconds float64 `json:"seconds"`
	// Operations ended in the measured part. For Idle they are the connections that had their
	// request.
	Operations uint64 `json:"operations"`
	// Failed is the number of failures of the whole run, and Failures the same by what happened.
	Failed   uint64            `json:"failed"`
	Failures map[string]uint64 `json:"failures,omitempty"`
	// Unanswered operations were due before the end and had not ended [drainTime] after it.
	Unanswered uint64 `json:"unanswered"`
	// BytesIn were received. BytesOut were taken by the kernel.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	// Latency is that of operations that ended after the measured part began. Unanswered
	// operations count with the time that they had waited. A Request lasts until its response is
	// complete, a Connection from the connect until the origin's FIN. With a rate, both count from
	// the moment at which they were due.
	Latency Percentiles `json:"latency"`
	// Late is by how much operations began late although a connection was free.
	Late Percentiles `json:"late"`
	// CPUSeconds is user and system time of the process (getrusage(2)).
	CPUSeconds float64 `json:"cpu_seconds"`
	// PerSecond is the number of operations that ended in each second, or of bytes for Send and
	// Receive. Idle has no such numbers.
	PerSecond []uint64 `json:"per_second,omitempty"`
	// Began is the time by [Now] at which the measured part began.
	Began int64 `json:"began_ns"`
	// Visits are those that began in the measured part, in that order.
	Visits []Visited `json:"visits,omitempty"`
	// Flows are all of them, lost or not.
	Flows []Flowed `json:"flows,omitempty"`
}

// Flowed is what happened to one Flow.
type Flowed struct {
	Opened  int64         `json:"opened_ns"`         // the time by [Now] at which it started to connect; 0: never
	Lost    int64         `json:"lost_ns,omitempty"` // the time by [Now] at which it failed; 0: never
	Failure string        `json:"failure,omitempty"`
	Stall   time.Duration `json:"stall_ns"` // the longest wait for an answer
}

// Visited is the result of one Visit.
type Visited struct {
	Began int64 `json:"began_ns"` // the time by [Now] at which it started to connect
	// Connect is the time until it was connected, 0 if it never was. Took is the time until it had
	// the whole answer, or failed.
	Connect time.Duration `json:"connect_ns,omitempty"`
	Took    time.Duration `json:"took_ns"`
	Backend int           `json:"backend,omitempty"` // the number of the backend that answered; 0: no answer
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

// longest is the longest time that a histogram holds, in microseconds. Longer times count as this.
const longest = int64(time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

// recordTime adds a time in nanoseconds.
func recordTime(h *hdrhistogram.Histogram, ns int64) {
	if err := h.RecordValue(min(max(ns, 0)/int64(time.Microsecond), longest)); err != nil {
		panic(err) // only for a value outside the histogram's range
	}
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	at := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1e3 }
	return Percentiles{
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1e3, Count: uint64(h.TotalCount()),
	}
}

// record is what the loop has counted. No other goroutine reads it before the loop has ended.
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
	flows         []Flowed
}

func newRecord(seconds int) record {
	return record{
		latency: newHistogram(), late: newHistogram(),
		failures: make(map[string]uint64), perSecond: make([]uint64, 0, seconds),
	}
}

// mostFailureKinds bounds how many kinds of failures a result lists.
const mostFailureKinds = 8

const otherFailures = "other failures"

func (r *record) fault(sentence string) {
	r.failed++
	r.failures[kindIn(r.failures, sentence)]++
}

// kindIn returns sentence, or otherFailures if it is new and there are enough kinds.
func kindIn(failures map[string]uint64, sentence string) string {
	if _, known := failures[sentence]; !known && len(failures) >= mostFailureKinds {
		return otherFailures
	}
	return sentence
}

// inSecond adds n to the second that contains ns, in nanoseconds after the start of the measured
// part.
func (r *record) inSecond(ns int64, n uint64) {
	second := int(ns / int64(time.Second))
	for len(r.perSecond) <= second {
		r.perSecond = append(r.perSecond, 0)
	}
	r.perSecond[second] += n
}

func (r *record) result() ClientResult {
	result := ClientResult{
		Operations: r.operations, Failed: r.failed, Unanswered: r.unanswered,
		BytesIn: r.bytesIn, BytesOut: r.bytesOut,
		Latency: percentiles(r.latency), Late: percentiles(r.late),
		PerSecond: r.perSecond, Visits: r.visits, Flows: r.flows,
	}
	slices.SortStableFunc(result.Visits, func(a, b Visited) int { return cmp.Compare(a.Began, b.Began) })
	if r.failed > 0 {
		result.Failures = r.failures
	}
	return result
}
