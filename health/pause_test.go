package health

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
)

// These tests run the turns of the loop themselves. A turn that comes too late stands for a process
// that was stopped, or whose virtual machine was frozen: time has passed, and so have deadlines.

// oneTarget is a runner of one target, which one failed check takes down.
func oneTarget(t *testing.T, c Checker, target Target) *runner {
	o := Options{Interval: time.Minute, FastInterval: 10 * time.Second, Timeout: time.Second, Rise: 1, Fall: 1}
	target.Backend, target.Health = new(backend.Backend), backend.HealthUp
	m := New()
	m.Add(Group{Options: o, Checker: c, Targets: []Target{target}})
	r := newRunner(m)
	t.Cleanup(r.prober.closeAll)
	return r
}

// turnAfter makes a turn after the given time, and waits until the checks that it starts are at
// rest.
func turnAfter(t *testing.T, r *runner, wait time.Duration) (next time.Duration) {
	<-time.After(wait)
	next = r.turn(t.Context())
	synctest.Wait()
	return next
}

// wantHealth checks the health that r gives its target after a number of checks.
func wantHealth(t *testing.T, what string, r *runner, health backend.Health, checks uint64) {
	t.Helper()
	if got, n := r.targets[0].status.Health, r.m.Checks(); got != health || n != checks {
		t.Errorf("%s: %v after %d checks, want %v after %d", what, got, n, health, checks)
	}
}

func TestDeadlineThatPassedInAStopIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		target := f.targets(1)[0]
		s := f.of(target)
		s.takes = time.Hour
		r := oneTarget(t, f, target)
		turnAfter(t, r, 0)
		turnAfter(t, r, 4*time.Second) // the timeout is one of them
		wantHealth(t, "after a stop", r, backend.HealthUp, 1)
		if begun := s.times(); !slices.Equal(begun, []time.Duration{0, 4 * time.Second}) {
			t.Errorf("checks began at %v, want one again right after the stop", begun)
		}
		for range 200 { // now the loop turns in time
			turnAfter(t, r, tick)
		}
		wantHealth(t, "after a check without a stop", r, backend.HealthDown, 2)
	})
}

func TestFailureInAStopIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		target := f.targets(1)[0]
		s := f.of(target)
		s.err, s.takes = errBroken, 500*time.Millisecond // the server gave up on the proxy
		r := oneTarget(t, f, target)
		turnAfter(t, r, 0)
		s.become(nil)
		turnAfter(t, r, 700*time.Millisecond)
		wantHealth(t, "after a stop", r, backend.HealthUp, 1)
		turnAfter(t, r, 700*time.Millisecond)
		wantHealth(t, "an answer after another stop", r, backend.HealthUp, 2)
		if r.targets[0].repeats != 0 {
			t.Error("a pass does not end the repeats")
		}
	})
}

// A machine that is late with every turn must find a dead backend all the same.
func TestStopsWithoutEndHideNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		target := f.targets(1)[0]
		f.of(target).takes = time.Hour
		r := oneTarget(t, f, target)
		turnAfter(t, r, 0)
		for range maxRepeats {
			turnAfter(t, r, 4*time.Second)
		}
		wantHealth(t, "after some stops", r, backend.HealthUp, maxRepeats)
		turnAfter(t, r, 4*time.Second)
		wantHealth(t, "after one more", r, backend.HealthDown, maxRepeats+1)
	})
}

// While a check is under way the loop turns often enough to notice a stop that is no longer than
// the timeout.
func TestShortStopIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		target := f.targets(1)[0]
		f.of(target).takes = time.Hour
		r := oneTarget(t, f, target)
		next := turnAfter(t, r, 0)
		for began := time.Now(); time.Since(began) < 700*time.Millisecond; {
			next = turnAfter(t, r, next)
		}
		turnAfter(t, r, next+300*time.Millisecond)
		wantHealth(t, "after a stop at the end of the timeout", r, backend.HealthUp, 1)
	})
}

// The prober's sockets are real: their answers wait in the kernel.
func TestAnswersBeforeTimeouts(t *testing.T) {
	answering, silent := testnet.Listen(t, "tcp", "").Addr, testnet.Silent(t)
	synctest.Test(t, func(t *testing.T) {
		addr := func(address string) net.Addr {
			a, err := net.ResolveTCPAddr("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		r := oneTarget(t, NewTCP(), Target{Addr: addr(answering)})
		turnAfter(t, r, 0)
		turnAfter(t, r, 4*time.Second)
		wantHealth(t, "an answer that waits", r, backend.HealthUp, 1)
		if err := r.targets[0].group.checks.results[r.targets[0].Backend].Err; err != nil {
			t.Errorf("a waiting answer was reported as %v", err)
		}

		r = oneTarget(t, NewTCP(), Target{Addr: addr(silent)})
		turnAfter(t, r, 0)
		turnAfter(t, r, 4*time.Second)
		wantHealth(t, "no answer in a stop", r, backend.HealthUp, 1)
		if r.prober.busy != 1 {
			t.Errorf("%d checks are under way after the stop, want only the repeated one", r.prober.busy)
		}
		for next := time.Duration(0); r.m.Checks() == 1; {
			next = turnAfter(t, r, next)
		}
		wantHealth(t, "no answer without a stop", r, backend.HealthDown, 2)
	})
}
