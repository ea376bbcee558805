package main

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"l4proxy/bench/chart"
	"l4proxy/bench/traffic"
)

// outageAt is a fault that took 10 ms, long after the start of the clock.
var outageAt = moment{began: int64(time.Hour), complete: int64(time.Hour + 10*time.Millisecond)}

// after is a client that came at d after the fault was complete.
func after(came, connect, took time.Duration, backend int, failure string) traffic.Visited {
	return traffic.Visited{Began: outageAt.complete + int64(came), Connect: connect, Took: took, Backend: backend, Failure: failure}
}

// good is a client that gets its answer in 2 ms.
func good(came time.Duration, backend int) traffic.Visited {
	return after(came, time.Millisecond, 2*time.Millisecond, backend, "")
}

// quietly is a good client of each backend, before the fault.
func quietly() []traffic.Visited {
	return []traffic.Visited{good(-time.Second, 1), good(-900*time.Millisecond, 2), good(-800*time.Millisecond, 3)}
}

const untilEnd = 4 * time.Second // after the fault

func tallied(t *testing.T, visits ...traffic.Visited) *tally {
	t.Helper()
	got, err := account(append(quietly(), visits...), outageAt, outageAt.complete+int64(untilEnd))
	if err != nil {
		t.Fatal(err)
	}
	return &got
}

// Clients that connected before the fault are cut off, later ones fail, and slow ones
// are counted apart.
func TestAccount(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name  string
		visit traffic.Visited
		want  figures // that differ from those of a good client
	}{
		{"good", good(time.Second, 1), figures{}},
		{"as slow as goes unnoticed", after(time.Second, ms, 100*ms, 1, ""), figures{"slowest answer ms": 100}},
		{"slow", after(time.Second, ms, 101*ms, 1, ""), figures{"over 100 ms": 1, "slowest answer ms": 101, "last bad s": 1}},
		{"slow to connect", after(time.Second, 150*ms, 151*ms, 1, ""),
			figures{"over 100 ms": 1, "slowest connect ms": 150, "slowest answer ms": 151, "last bad s": 1}},
		{"failed", after(2*time.Second, ms, 5*ms, 0, "closed"), figures{"failed": 1, "slowest answer ms": 0, "last bad s": 2}},
		{"failed late", after(2*time.Second, ms, 5*time.Second, 0, "none"), figures{"failed": 1, "slowest answer ms": 0, "last bad s": 2}},
		{"refused", after(2*time.Second, 0, ms, 0, "refused"),
			figures{"failed": 1, "slowest connect ms": 0, "slowest answer ms": 0, "last bad s": 2}},
		{"never connected, came before", after(-15*ms, 0, time.Second, 0, "none"),
			figures{"failed": 1, "slowest connect ms": 0, "slowest answer ms": 0}},
		{"connected before", after(-20*ms, ms, 30*ms, 0, "closed"), figures{"clients": 0, "cut off": 1, "slowest answer ms": 0}},
		{"connected meanwhile", after(-5*ms, ms, 30*ms, 0, "closed"), figures{"clients": 0, "cut off": 1, "slowest answer ms": 0}},
		{"connected before, failed meanwhile", after(-15*ms, ms, 8*ms, 0, "closed"), figures{"clients": 0, "cut off": 1, "slowest answer ms": 0}},
		{"connected before, served late", after(-20*ms, ms, 3*time.Second, 2, ""),
			figures{"clients": 0, "over 100 ms": 1, "slowest answer ms": 3000}},
		{"came before, connected when it was complete", after(-ms, ms, 2*ms, 0, "closed"), figures{"failed": 1, "slowest answer ms": 0}},
		{"in the last second, on the one that came back", good(untilEnd-time.Second, 2), figures{"recovered %": 100}},
		{"in the last second, on another one", good(untilEnd-time.Second, 3), figures{"recovered %": 0}},
		{"in the last second, failed", after(untilEnd-time.Second, ms, 2*ms, 2, "closed"),
			figures{"failed": 1, "slowest answer ms": 0, "last bad s": 3}},
	} {
		want := figures{"clients": 1, "failed": 0, "cut off": 0, "over 100 ms": 0, "slowest connect ms": 1, "slowest answer ms": 2}
		maps.Copy(want, test.want)
		got := tallied(t, test.visit)
		if f := got.figures(); !maps.Equal(f, want) {
			t.Errorf("%s: %v, want %v", test.name, f, want)
		}
		failures := map[string]uint64{}
		if test.visit.Failure != "" {
			failures[test.visit.Failure] = 1
		}
		if !maps.Equal(got.failures, failures) {
			t.Errorf("%s: failures %v, want %v", test.name, got.failures, failures)
		}
	}
}

func TestAccountOfMany(t *testing.T) {
	f := tallied(t,
		after(100*time.Millisecond, time.Millisecond, time.Second, 0, "none"),
		after(200*time.Millisecond, 2*time.Millisecond, 2*time.Second, 2, ""),
		after(300*time.Millisecond, time.Millisecond, time.Millisecond, 0, "closed"),
		good(3100*time.Millisecond, 1), good(3200*time.Millisecond, 2), good(3300*time.Millisecond, 2), good(3400*time.Millisecond, 3),
	).figures()
	want := figures{"clients": 7, "failed": 2, "cut off": 0, "over 100 ms": 1, "slowest connect ms": 2,
		"slowest answer ms": 2000, "last bad s": 0.3, "recovered %": 50}
	if !maps.Equal(f, want) {
		t.Errorf("%v, want %v", f, want)
	}
}

// Failures before the fault are no outage.
func TestNothingToAccountFor(t *testing.T) {
	for want, visits := range map[string][]traffic.Visited{
		"a client failed before any backend did: closed": append(quietly(), after(-500*time.Millisecond, 1, 1, 0, "closed")),
		"backend 3 had no client before the fault":       append(quietly()[:2], good(0, 3)),
		"backend 1 had no client before the fault":       nil,
	} {
		if _, err := account(visits, outageAt, outageAt.complete+int64(untilEnd)); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestCourse(t *testing.T) {
	got := tallied(t,
		after(-50*time.Millisecond, time.Millisecond, time.Minute, 0, "closed"),
		after(0, time.Millisecond, time.Second, 0, "closed"),
		after(99*time.Millisecond, time.Millisecond, time.Second, 1, ""),
		after(100*time.Millisecond, time.Millisecond, time.Second, 1, ""),
		good(150*time.Millisecond, 1),
		after(150*time.Millisecond, time.Millisecond, time.Second, 1, ""),
	).course
	want := []badPart{{Part: -1, Failed: 1}, {Part: 0, Failed: 1, Slow: 1}, {Part: 1, Slow: 2}}
	if !slices.Equal(got.Bad, want) || got.From != -1 || got.Until != 4 {
		t.Errorf("from %v to %v: %v, want %v", got.From, got.Until, got.Bad, want)
	}
	failed, slow := got.points()
	if len(failed) != 50 || len(slow) != 50 {
		t.Fatalf("%d and %d points of 5 seconds", len(failed), len(slow))
	}
	for i, at := range []float64{-1, -0.1, 0, 0.1, 3.9} {
		wantFailed, wantSlow := []float64{0, 1, 1, 0, 0}[i], []float64{0, 0, 1, 2, 0}[i]
		n := int(math.Round((at + 1) * partsASecond))
		if failed[n] != (chart.Point{X: at, Y: wantFailed}) || slow[n] != (chart.Point{X: at, Y: wantSlow}) {
			t.Errorf("after %v s: %v and %v, want %v and %v", at, failed[n], slow[n], wantFailed, wantSlow)
		}
	}
}
