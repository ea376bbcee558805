package backend

import (
	"sync"
	"testing"
	"time"
	"unsafe"
)

const second = int64(time.Second)

// escaped makes what is assigned to it be allocated on the heap.
var escaped *Backend

func TestLayout(t *testing.T) {
	var b Backend
	if got := unsafe.Sizeof(b); got != 3*cacheLine {
		t.Errorf("a Backend has %d bytes, want %d", got, 3*cacheLine)
	}
	if got := unsafe.Offsetof(b.active); got != cacheLine {
		t.Errorf("the counters begin at byte %d, want %d", got, cacheLine)
	}
	if got := unsafe.Offsetof(b.outlier); got != 2*cacheLine {
		t.Errorf("what answers look at begins at byte %d, want %d", got, 2*cacheLine)
	}
	for range 100 {
		escaped = new(Backend)
		if p := uintptr(unsafe.Pointer(escaped)); p%cacheLine != 0 {
			t.Fatalf("a Backend was allocated at %#x, across cache lines", p)
		}
	}
}

func TestCountersAcrossGoroutines(t *testing.T) {
	const goroutines, each = 8, 1000
	b := new(Backend)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				b.Acquire()
				b.DialOK()
				b.DialFailed()
				b.Release()
			}
			b.Acquire()
		})
	}
	wg.Wait()
	if got := b.Active(); got != goroutines {
		t.Errorf("Active() = %d, want %d", got, goroutines)
	}
	if got := b.Total(); got != goroutines*(each+1) {
		t.Errorf("Total() = %d, want %d", got, goroutines*(each+1))
	}
	if ok, failed := b.Dials(); ok != goroutines*each || failed != goroutines*each {
		t.Errorf("Dials() = %d, %d, want %d each", ok, failed, goroutines*each)
	}
}

func TestReleaseWithoutAcquirePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Release without Acquire did not panic")
		}
	}()
	new(Backend).Release()
}

func TestBackoffDoublesToThirtySeconds(t *testing.T) {
	b := new(Backend)
	now := int64(-5 * second) // a monotonic clock may begin anywhere
	begun := now
	if !b.Fail(now, now) || !b.InBackoff() {
		t.Fatal("the first failure did not put it in backoff")
	}
	for i, want := range []int64{1, 2, 4, 8, 16, 30, 30, 30} {
		if got := b.BackoffUntil() - now; got != want*second {
			t.Errorf("after %d failures in backoff for %v, want %ds", i+1, time.Duration(got), want)
		}
		if got := b.Failures(); got != i+1 {
			t.Errorf("Failures() = %d, want %d", got, i+1)
		}
		now = b.BackoffUntil()
		if b.Probe(now - 1) {
			t.Fatalf("probed before its time, after %d failures", i+1)
		}
		if !b.Probe(now) || !b.Probing() {
			t.Fatalf("not probed when its time was over, after %d failures", i+1)
		}
		if !b.Fail(now, now) || b.Probing() {
			t.Fatalf("failed probe %d was not counted", i+1)
		}
	}
	if got := b.BackoffSince(); got != begun {
		t.Errorf("in backoff since %d, want %d: probes do not begin it anew", got, begun)
	}
	b.Recover(now)
	if again := now + second; !b.Fail(again, again) || b.BackoffSince() != again {
		t.Errorf("in backoff again since %d, want %d", b.BackoffSince(), again)
	}
}

func TestOnlyProbesDouble(t *testing.T) {
	b := new(Backend)
	b.Fail(0, 0)
	for range 100 { // dials that were under way
		if b.Fail(second/2, second/2) {
			t.Fatal("a failure in backoff changed the state")
		}
	}
	if b.Fail(5*second, 5*second) {
		t.Error("a late failure without a probe changed the state")
	}
	if b.BackoffUntil() != second || b.Failures() != 1 {
		t.Errorf("in backoff until %v after %d failures, want 1s after 1",
			time.Duration(b.BackoffUntil()), b.Failures())
	}
}

func TestRecoverResetsTheDelay(t *testing.T) {
	b := new(Backend)
	if b.Recover(0) {
		t.Error("Recover reported a change of an available backend")
	}
	b.Fail(0, 0)
	b.Probe(second)
	b.Fail(second, second)
	if !b.Recover(0) || b.InBackoff() || b.Probing() || b.BackoffUntil() != 0 {
		t.Fatal("Recover did not bring it back fully")
	}
	b.Fail(10*second, 10*second)
	if got := b.BackoffUntil() - 10*second; got != second {
		t.Errorf("in backoff for %v after recovery, want 1s", time.Duration(got))
	}
}

func TestOneProbeAtATime(t *testing.T) {
	b := new(Backend)
	if b.Probe(0) || b.EndProbe() {
		t.Fatal("an available backend was probed")
	}
	b.Fail(0, 0)
	if b.EndProbe() {
		t.Error("EndProbe ended what never began")
	}
	if !b.Probe(second) {
		t.Fatal("not probed when its time was over")
	}
	if b.Probe(second + int64(ProbeLease) - 1) {
		t.Error("probed by two during the lease")
	}
	if !b.Probe(second + int64(ProbeLease)) {
		t.Error("not probed again after the lease")
	}
	if !b.EndProbe() || b.Probing() {
		t.Fatal("EndProbe did not end the probe")
	}
	if b.Failures() != 1 {
		t.Errorf("a probe without a verdict made it %d failures, want 1", b.Failures())
	}
	if !b.Probe(2 * second) {
		t.Error("not probed at once after a probe without a verdict")
	}
}

// TestLateFailures holds that a dial which began before something better was known does not change
// that.
func TestLateFailures(t *testing.T) {
	b := new(Backend)
	b.Fail(0, second)
	b.Probe(3 * second)
	if b.Fail(2*second, 4*second) || !b.Probing() {
		t.Error("a dial from before the probe was taken for it")
	}
	if !b.Fail(3*second, 5*second) || b.Failures() != 2 {
		t.Error("the probe's own failure was not counted")
	}
	b.Probe(8 * second)
	b.Recover(9 * second)
	if b.Fail(8*second, 10*second) || b.InBackoff() {
		t.Error("a dial from before the recovery put it back in backoff")
	}
	if !b.Fail(9*second, 10*second) {
		t.Error("a dial from after the recovery was not counted")
	}
}
