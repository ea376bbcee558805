package traffic

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each stretch equals the pattern byte by byte, and has the wanted length or the largest.
func TestStretch(t *testing.T) {
	for _, position := range []uint64{0, 1, period - 1, period, 10*period + 7, 1 << 40} {
		for _, n := range []int{1, 2, 4096, largestStretch, largestStretch + 1} {
			p := stretch(position, n)
			if len(p) != min(n, largestStretch) {
				t.Errorf("%d bytes at %d: got %d", n, position, len(p))
			}
			for i, b := range p {
				if b != pattern[(position+uint64(i))%period] {
					t.Fatalf("%d bytes at %d: byte %d is another one", n, position, i)
				}
			}
		}
	}
}

// After a loss of any usual buffer size, the bytes do not match.
func TestLossShows(t *testing.T) {
	for shift := uint64(1); shift <= 1<<20; shift *= 2 {
		for _, position := range []uint64{0, 1000, period - 10} {
			if p := stretch(position+shift, 16); matches(p, position, true) {
				t.Errorf("%d bytes lost at %d do not show", shift, position)
			}
		}
	}
}

func TestMatches(t *testing.T) {
	long := slices.Concat(stretch(5, largestStretch), stretch(5+largestStretch, largestStretch))
	for _, all := range []bool{false, true} {
		if !matches(long, 5, all) || !matches(nil, 5, all) {
			t.Errorf("all %t: the pattern does not match itself", all)
		}
		for _, at := range []int{0, len(long) / 2, len(long) - 1} {
			long[at]++
			if got, want := matches(long, 5, all), !all && at == len(long)/2; got != want {
				t.Errorf("all %t: with byte %d wrong, it matches: %t", all, at, got)
			}
			long[at]--
		}
	}
}

// A wait lasts until its time or until it is woken, with and without the P.
func TestPoller(t *testing.T) {
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for _, quiet := range []bool{false, true} {
		for _, wait := range []time.Duration{0, 300 * time.Microsecond, 2 * time.Duration(patience)} {
			p.quiet = quiet
			until := Now() + int64(wait)
			waits := 0
			for ; Now() < until; waits++ { // more than one when it is interrupted, or out of patience
				events, err := p.wait(until)
				if err != nil || len(events) > 0 {
					t.Fatalf("quiet %t: %d events, %v, without an event", quiet, len(events), err)
				}
			}
			if waits > 100 {
				t.Errorf("quiet %t: %d waits for %v", quiet, waits, wait)
			}
		}
		p.quiet = quiet
		go p.wake()
		for woken := false; !woken; {
			events, err := p.wait(forever)
			if err != nil {
				t.Fatal(err)
			}
			woken = len(events) == 1 && events[0].Fd == wakeUp
		}
		if p.quiet {
			t.Error("it is quiet right after an event")
		}
	}
}

// If nothing comes for long, the thread releases its P.
func TestPollerBecomesQuiet(t *testing.T) {
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if _, err := p.wait(Now() + patience/2); err != nil || p.quiet {
		t.Errorf("quiet %t after half of its patience, %v", p.quiet, err)
	}
	for deadline := Now() + int64(time.Minute); !p.quiet; {
		if _, err := p.wait(deadline); err != nil || Now() > deadline {
			t.Fatalf("it never becomes quiet: %v", err)
		}
	}
}

func TestPercentiles(t *testing.T) {
	h := newHistogram()
	if got := percentiles(h); got != (Percentiles{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := range int64(1000) {
		recordTime(h, (i+1)*int64(time.Microsecond))
	}
	want := Percentiles{P50: 0.5, P90: 0.9, P99: 0.99, P999: 0.999, Max: 1, Count: 1000}
	if diff := cmp.Diff(want, percentiles(h)); diff != "" {
		t.Errorf("1 to 1000 µs (-want +got):\n%s", diff)
	}
	recordTime(h, -int64(time.Second))
	recordTime(h, int64(time.Hour))
	if got := percentiles(h); got.Count != 1002 || got.Max < 60_000 || got.Max > 60_100 {
		t.Errorf("an hour counts as a minute, not %+v", got)
	}
}

func TestRecord(t *testing.T) {
	r := newRecord(1)
	second := int64(time.Second)
	r.inSecond(0, 3)
	r.inSecond(second-1, 4)
	r.inSecond(2*second, 5)
	for i := range mostFailureKinds + 2 {
		r.fault(fmt.Sprint(i))
	}
	r.fault("0")
	r.fault("yet another")
	recordTime(r.latency, int64(time.Millisecond))
	recordTime(r.late, int64(time.Millisecond))
	r.operations, r.unanswered, r.bytesIn, r.bytesOut = 12, 1, 2, 3
	got := r.result()
	want := ClientResult{
		Operations: 12, Unanswered: 1, BytesIn: 2, BytesOut: 3, PerSecond: []uint64{7, 0, 5},
		Failed: mostFailureKinds + 4, Failures: map[string]uint64{"0": 2, otherFailures: 3},
		Latency: percentiles(r.latency), Late: percentiles(r.late),
	}
	for i := 1; i < mostFailureKinds; i++ {
		want.Failures[fmt.Sprint(i)] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
