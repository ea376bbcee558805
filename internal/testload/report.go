package testload

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Report is what a load has seen.
type Report struct {
	Served   int             // visits without a failure
	Flows    int             // long connections
	Failures map[Failure]int // of visits and flows
	Examples []string        // the first failures
	// Stalls is about the longest wait of each flow, Visits about the whole time of each visit.
	Stalls, Visits Percentiles
	// Late is the longest delay of a visit by the load itself: the test's process had no CPU time,
	// or too many visits were under way.
	Late time.Duration
	// Expired is set if the load reached its limit.
	Expired bool
}

// Percentiles of times.
type Percentiles struct{ P50, P99, Max time.Duration }

func percentiles(times []time.Duration) Percentiles {
	if len(times) == 0 {
		return Percentiles{}
	}
	slices.Sort(times)
	at := func(percent int) time.Duration { return times[(len(times)*percent+99)/100-1] }
	return Percentiles{at(50), at(99), times[len(times)-1]}
}

func (p Percentiles) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, max %v", p.P50.Round(10*time.Microsecond),
		p.P99.Round(10*time.Microsecond), p.Max.Round(10*time.Microsecond))
}

// Report returns what the load has seen so far.
func (l *Load) Report() Report {
	r := Report{Served: l.Served(), Flows: len(l.flows), Stalls: l.Stalls(), Expired: l.expired.Load()}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Failures, r.Examples = maps.Clone(l.failures), slices.Clone(l.examples)
	r.Visits, r.Late = percentiles(slices.Clone(l.visits)), l.late
	return r
}

// Stalls returns the longest wait of each flow since the load began, or since the last call of
// [Load.ForgetStalls].
func (l *Load) Stalls() Percentiles {
	var all []time.Duration
	for _, f := range l.flows {
		f.mu.Lock()
		all = append(all, f.stall)
		f.mu.Unlock()
	}
	return percentiles(all)
}

// ForgetStalls clears [Load.Stalls], so that a test can compare the time before an
// upgrade with the time of the upgrade.
func (l *Load) ForgetStalls() {
	for _, f := range l.flows {
		f.mu.Lock()
		f.stall = 0
		f.mu.Unlock()
	}
}

func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d visits (%v), %d long connections (longest stall of each: %v), load late by at most %v; ",
		r.Served, r.Visits, r.Flows, r.Stalls, r.Late.Round(10*time.Microsecond))
	if len(r.Failures) == 0 {
		b.WriteString("no failure")
	} else {
		b.WriteString("failures:")
	}
	for _, class := range slices.Sorted(maps.Keys(r.Failures)) {
		fmt.Fprintf(&b, " %d %s", r.Failures[class], class)
	}
	for _, line := range r.Examples {
		b.WriteString("\n\t" + line)
	}
	return b.String()
}

// MustBeClean logs the report, and fails the test if any connection failed or the load reached its
// limit before the test stopped it.
func (r Report) MustBeClean(t testing.TB) {
	t.Helper()
	t.Logf("load: %v", r)
	if len(r.Failures) > 0 {
		t.Error("connections failed")
	}
	if r.Expired {
		t.Error("the load reached its limit before the test had ended")
	}
}
