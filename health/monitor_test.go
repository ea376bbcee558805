package health

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
)

// In these tests time is synctest's: it passes at once when all goroutines wait.

var errBroken = errors.New("broken")

func TestMonitorTellsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(1)
		b, s := targets[0].Backend, f.of(targets[0])
		w := run(Group{Options: Options{Interval: time.Second, FastInterval: 100 * time.Millisecond}, Checker: f, Targets: targets})
		start := time.Now()

		<-time.After(10 * time.Second)
		wantChanges(t, "at first", w.take(), []told{{Change{b, backend.HealthUnknown, backend.HealthUp, nil, 1}, 0}})
		good := len(s.times())
		if last, known := w.Last(b); !known || last.Health != backend.HealthUp || !last.Since.Equal(start) || last.Err != nil {
			t.Errorf("Last: %+v, %v", last, known)
		}

		s.become(errBroken)
		<-time.After(5 * time.Second)
		bad := s.times()[good:]
		wantChanges(t, "broken", w.take(), []told{{Change{b, backend.HealthUp, backend.HealthDown, errBroken, good - 1 + 3}, bad[2]}})
		if fast := []time.Duration{bad[1] - bad[0], bad[2] - bad[1], bad[3] - bad[2]}; !slices.Equal(fast, []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, time.Second}) {
			t.Errorf("the times between checks are %v, want short ones while in doubt only", fast)
		}
		if last, _ := w.Last(b); last.Health != backend.HealthDown || last.Err != errBroken || !last.Since.Equal(start.Add(bad[2])) {
			t.Errorf("Last: %+v", last)
		}

		s.become(nil)
		<-time.After(5 * time.Second)
		changes := w.take()
		if len(changes) != 1 || changes[0].To != backend.HealthUp || changes[0].Err != nil || changes[0].at > 16200*time.Millisecond {
			t.Errorf("well again: told %+v, want up after two checks", changes)
		}
		w.stop()
		if _, known := w.Last(new(backend.Backend)); known {
			t.Error("Last knows a backend that is not checked")
		}
	})
}

func TestMonitorStartsFromKnownHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(3)
		for i := range targets {
			targets[i].Health = backend.Health(i)
		}
		w := run(Group{Checker: f, Targets: targets})
		if last, _ := w.Last(targets[2].Backend); last.Health != backend.HealthDown || !last.At.IsZero() {
			t.Errorf("Last before the first check: %+v", last)
		}
		<-time.After(time.Minute)
		w.stop()
		changes := w.take()
		slices.SortFunc(changes, func(a, b told) int { return int(a.at - b.at) })
		wantChanges(t, "all are well", changes, []told{
			{Change{targets[0].Backend, backend.HealthUnknown, backend.HealthUp, nil, 1}, 0},
			{Change{targets[2].Backend, backend.HealthDown, backend.HealthUp, nil, 2}, 500 * time.Millisecond},
		})
	})
}

func TestSlowListenerMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(5)
		last := map[*backend.Backend]backend.Health{}
		calls, atOnce := 0, atomic.Int32{}
		w := watching(func(c Change) {
			if atOnce.Add(1) != 1 {
				t.Error("told of two changes at once")
			}
			defer atOnce.Add(-1)
			if last[c.Backend] != c.From {
				t.Errorf("change %d is from %v, the last one was to %v", calls, c.From, last[c.Backend])
			}
			last[c.Backend] = c.To
			calls++
			<-time.After(3 * time.Second)
		}, Group{Options: Options{Interval: 40 * time.Millisecond, Rise: 1, Fall: 1}, Checker: f, Targets: targets})
		stop := w.start()
		before := w.Checks()
		for i := range 40 {
			for _, target := range targets {
				f.of(target).become([]error{nil, errBroken}[i%2])
			}
			<-time.After(100 * time.Millisecond)
		}
		if checks := w.Checks() - before; checks < 400 {
			t.Errorf("%d checks were made in 4 s while the listener was slow, want 500", checks)
		}
		stop() // which waits until all changes are reported
		if calls != 200 {
			t.Errorf("told of %d changes, want 200", calls)
		}
		for _, target := range targets {
			if now, _ := w.Last(target.Backend); now.Health != last[target.Backend] {
				t.Errorf("told last of %v, but the health is %v", last[target.Backend], now.Health)
			}
		}
	})
}

func TestHangingGroupDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		hanging, well := f.targets(5000), f.targets(5)
		for _, target := range hanging {
			f.of(target).takes = time.Hour
		}
		w := run(
			Group{Options: Options{Interval: time.Second, FastInterval: 100 * time.Millisecond}, Checker: f, Targets: hanging},
			Group{Options: Options{Interval: time.Second}, Checker: f, Targets: well})
		<-time.After(time.Minute)
		w.stop()
		for _, target := range well {
			begun := f.of(target).times()
			for i := range begun[1:] {
				// A slot becomes free a hundred times per second or more: 256 of them, a timeout of
				// 1 s.
				if gap := begun[i+1] - begun[i]; gap > 1100*time.Millisecond {
					t.Fatalf("a check began %v after the one before, want at most 1s and a little", gap)
				}
			}
			if len(begun) < 59 {
				t.Errorf("%d checks in a minute, want 60", len(begun))
			}
		}
		down := 0
		for _, change := range w.take() {
			if change.To == backend.HealthDown {
				down++
			}
		}
		if down != len(hanging) {
			t.Errorf("%d of %d hanging backends are down after a minute", down, len(hanging))
		}
	})
}

// crowd counts how many checks are under way.
type crowd struct{ now, most atomic.Int32 }

func (c *crowd) Check(ctx context.Context, _ net.Addr, _ string) error {
	for n, most := c.now.Add(1), c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	<-ctx.Done()
	c.now.Add(-1)
	return ctx.Err()
}

func TestChecksUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(crowd)
		w := run(Group{Checker: c, Targets: farm{}.targets(2000)}, Group{Checker: c, Targets: farm{}.targets(2000)})
		<-time.After(time.Minute)
		w.stop()
		if n := c.most.Load(); n != maxOther {
			t.Errorf("up to %d checks were under way, want %d", n, maxOther)
		}
		if n := c.now.Load(); n != 0 {
			t.Errorf("%d checks are under way after Run", n)
		}
	})
}

func TestErrorsOfThisMachineAreNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(20)
		var changes []Change
		var trouble []error
		w := watching(func(c Change) { changes = append(changes, c) },
			Group{Options: Options{Interval: time.Second, FastInterval: 100 * time.Millisecond}, Checker: f, Targets: targets})
		w.Trouble = func(err error) { trouble = append(trouble, err) }
		stop := w.start()
		<-time.After(5 * time.Second)
		missing := failed(t.Context(), "connect", unix.EMFILE)
		s := f.of(targets[0])
		begun := len(s.times())
		for _, target := range targets {
			f.of(target).become(missing)
		}
		<-time.After(30 * time.Second)
		if n := len(s.times()) - begun; n < 280 {
			t.Errorf("%d checks in 30 s, want one each fast interval", n)
		}
		for _, target := range targets {
			f.of(target).become(nil)
		}
		<-time.After(30 * time.Second)
		stop()
		if len(changes) != len(targets) {
			t.Errorf("told of %d changes, want %d to up: %+v", len(changes), len(targets), changes)
		}
		if !slices.Equal(trouble, []error{missing, nil}) {
			t.Errorf("told of the trouble %v, want %v once, and its end", trouble, missing)
		}
		if last, _ := w.Last(targets[0].Backend); last.Health != backend.HealthUp {
			t.Errorf("Last: %+v, want up", last)
		}
	})
}

// named is a checker that records the names that it is given.
type named chan string

func (n named) Check(_ context.Context, addr net.Addr, name string) error {
	n <- addr.String() + " " + name
	return nil
}

func TestChecksGetTheNameOfTheirTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := make(named, 10)
		targets := farm{}.targets(2)
		targets[0].Name, targets[1].Name = "a.example.com", ""
		w := run(Group{Checker: n, Targets: targets})
		synctest.Wait()
		w.stop()
		got := []string{<-n, <-n}
		slices.Sort(got)
		if want := []string{"/server-0 a.example.com", "/server-1 "}; !slices.Equal(got, want) {
			t.Errorf("checks ask %q, want %q", got, want)
		}
	})
}

func TestTimeoutsBoundChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(1)
		s := f.of(targets[0])
		s.takes = time.Hour
		w := run(Group{Options: Options{Interval: time.Second, FastInterval: 100 * time.Millisecond, Timeout: 300 * time.Millisecond}, Checker: f, Targets: targets})
		<-time.After(2 * time.Second)
		w.stop()
		wantChanges(t, "silence", w.take(), []told{
			{Change{targets[0].Backend, backend.HealthUnknown, backend.HealthDown, context.DeadlineExceeded, 3}, 900 * time.Millisecond},
		})
	})
}

func TestDescriptors(t *testing.T) {
	tcpTargets := func(n int) (all []Target) {
		for i := range n {
			all = append(all, Target{Backend: new(backend.Backend), Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: i + 1}})
		}
		return all
	}
	for _, test := range []struct {
		name string
		got  []Group
		want int
	}{
		{"none", nil, 0},
		{"few", []Group{{Checker: NewTCP(), Targets: tcpTargets(3)}, {Checker: farm{}, Targets: farm{}.targets(2)}}, 3 + 1 + 2},
		{"many", []Group{{Checker: NewTCP(), Targets: tcpTargets(9000)}, {Checker: farm{}, Targets: farm{}.targets(9000)}}, maxTCP + maxIdle + 1 + maxOther},
		{"unix sockets", []Group{{Checker: NewTCP(), Targets: farm{}.targets(2)}}, 2},
	} {
		if got := Descriptors(test.got); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
