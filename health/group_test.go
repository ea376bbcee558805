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

// A group that is added later is checked too, and one that is stopped is not, whatever the others
// do.
func TestGroupsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		o := Options{Interval: time.Second}
		first, second, later := f.targets(3), f.targets(2), f.targets(4)
		w := run(Group{Options: o, Checker: f, Targets: first})
		<-time.After(10 * time.Second)
		checks := w.Add(Group{Options: o, Checker: f, Targets: second})
		<-time.After(10 * time.Second)
		for _, target := range second {
			if begun := f.of(target).times(); len(begun) < 10 || begun[0] < 10*time.Second {
				t.Errorf("the second group was checked at %v", begun)
			}
		}
		if changes := checks.Changes.Take(); len(changes) != 2 {
			t.Errorf("changes of the second group: %+v, want two to up", changes)
		}
		checks.Stop()
		for _, target := range second {
			f.of(target).become(errBroken)
		}
		checked, before := len(f.of(second[0]).times()), len(f.of(first[0]).times())
		<-time.After(10 * time.Second)
		if n := len(f.of(second[0]).times()); n != checked {
			t.Errorf("%d checks after Stop", n-checked)
		}
		if n := len(f.of(first[0]).times()); n < before+10 {
			t.Errorf("%d checks of the first group in 10 s after the second one was stopped", n-before)
		}
		if changes := checks.Changes.Take(); len(changes) != 0 {
			t.Errorf("changes after Stop: %+v", changes)
		}
		if _, known := checks.Last(second[0].Backend); known {
			t.Error("Last knows a backend after Stop")
		}
		third := w.Add(Group{Options: o, Checker: f, Targets: later}) // in the slots of the second
		<-time.After(time.Second)
		if changes := third.Changes.Take(); len(changes) != 4 {
			t.Errorf("changes of the third group: %+v, want four to up", changes)
		}
		w.stop()
		third.Stop() // returns although the Monitor has ended
	})
}

// Stop ends checks that hang, and returns when they have ended.
func TestStopEndsChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(crowd)
		w := run(Group{Options: Options{Timeout: time.Hour, Interval: time.Hour}, Checker: c, Targets: farm{}.targets(maxOther + 10)})
		<-time.After(2 * time.Second) // the first checks are spread
		if n := c.now.Load(); n != maxOther {
			t.Errorf("%d checks are under way, want %d", n, maxOther)
		}
		begun := time.Now()
		w.groups[0].Stop()
		if n := c.now.Load(); n != 0 {
			t.Errorf("%d checks are under way after Stop", n)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("Stop took %v", took)
		}
		f := farm{}
		checks := w.Add(Group{Checker: f, Targets: f.targets(maxOther)}) // all slots are free again
		<-time.After(2 * time.Second)
		if n := len(checks.Changes.Take()); n != maxOther {
			t.Errorf("%d of %d backends are up after a group that hung", n, maxOther)
		}
		w.stop()
	})
}

// A stopped group of TCP checks leaves no check under way and frees its slots.
func TestStopEndsTCPChecks(t *testing.T) {
	testnet.SameFiles(t)
	silent, up := testnet.Silent(t), testnet.Listen(t, "tcp", "").Addr
	synctest.Test(t, func(t *testing.T) {
		targets := func(n int, address string) (all []Target) {
			addr, err := net.ResolveTCPAddr("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				all = append(all, Target{Backend: new(backend.Backend), Addr: addr})
			}
			return all
		}
		m := New()
		r := newRunner(m)
		defer r.prober.closeAll()
		hanging := m.Add(Group{Options: Options{Interval: time.Hour, Timeout: time.Hour}, Checker: NewTCP(), Targets: targets(10, silent)})
		turnAfter(t, r, 0)
		if r.prober.busy != 10 || r.tcp.busy != 10 {
			t.Fatalf("%d checks are under way, want 10", r.prober.busy)
		}
		go hanging.Stop()
		synctest.Wait()
		checks := m.Add(Group{Checker: NewTCP(), Targets: targets(1, up)})
		turnAfter(t, r, 0)
		turnAfter(t, r, tick)
		if r.prober.busy != 0 || r.tcp.busy != 0 {
			t.Errorf("%d checks are under way, in %d slots, want 0", r.prober.busy, r.tcp.busy)
		}
		if c := checks.Changes.Take(); len(c) != 1 || c[0].To != backend.HealthUp {
			t.Errorf("changes: %+v, want up", c)
		}
		due := 0
		for slot := range r.targets {
			if r.agenda.Has(slot) {
				due++
			}
		}
		if due != 1 {
			t.Errorf("%d targets are on the agenda, want 1", due)
		}
	})
}

// Update keeps what is known of the targets that stay, even if it comes more often than checks.
func TestUpdateKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(5)
		moved, added := targets[3], targets[4]
		targets = targets[:3]
		g := Group{Options: Options{Interval: time.Second, FastInterval: time.Second}, Checker: f, Targets: targets}
		w := run(g)
		<-time.After(10 * time.Second)
		w.take()
		f.of(targets[0]).become(errBroken)
		begun := time.Now()
		for time.Since(begun) < 4*time.Second {
			<-time.After(100 * time.Millisecond)
			w.groups[0].Update(g)
		}
		if changes := w.take(); len(changes) != 1 || changes[0].To != backend.HealthDown || changes[0].Backend != targets[0].Backend {
			t.Errorf("changes during updates: %+v, want down", changes)
		}

		// One target leaves, one moves, one comes.
		f.of(moved).become(errBroken)
		moved.Backend = targets[1].Backend
		g.Targets = []Target{targets[0], moved, added}
		left := len(f.of(targets[2]).times())
		w.groups[0].Update(g)
		<-time.After(5 * time.Second)
		if n := len(f.of(targets[2]).times()); n != left {
			t.Errorf("%d checks of a target that has left", n-left)
		}
		if _, known := w.Last(targets[2].Backend); known {
			t.Error("Last knows a target that has left")
		}
		changes := map[*backend.Backend]Change{}
		for _, c := range w.take() {
			changes[c.Backend] = c.Change
		}
		if c := changes[moved.Backend]; c.From != backend.HealthUp || c.To != backend.HealthDown {
			t.Errorf("change of a target that has moved: %+v, want from up to down", c)
		}
		if c := changes[added.Backend]; len(changes) != 2 || c.From != backend.HealthUnknown || c.To != backend.HealthUp {
			t.Errorf("changes: %+v, want two", changes)
		}

		// Other options count from the next check on.
		g.Interval, g.Rise = 10*time.Second, 1
		g.FastInterval = g.Interval
		w.groups[0].Update(g)
		<-time.After(time.Second)
		before := len(f.of(targets[0]).times())
		<-time.After(time.Minute)
		if n := len(f.of(targets[0]).times()) - before; n > 7 {
			t.Errorf("%d checks in a minute, want one every 10 s", n)
		}
		w.stop()
	})
}

// A target that leaves while its check is under way gives its slot back when that ends, and its
// result is dropped.
func TestTargetLeavesDuringItsCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		targets := f.targets(2)
		f.of(targets[0]).takes = 500 * time.Millisecond
		g := Group{Options: Options{Interval: time.Minute}, Checker: f, Targets: targets}
		m := New()
		checks := m.Add(g)
		r := newRunner(m)
		turnAfter(t, r, 0)
		g.Targets = targets[1:]
		checks.Update(g)
		turnAfter(t, r, 0)
		turnAfter(t, r, time.Second)
		turnAfter(t, r, 0)
		for _, c := range checks.Changes.Take() {
			if c.Backend == targets[0].Backend {
				t.Errorf("change of a target that has left: %+v", c)
			}
		}
		if r.other.busy != 0 || len(r.freeSlots) != 1 {
			t.Errorf("%d checks are under way and %d slots are free, want 0 and 1", r.other.busy, len(r.freeSlots))
		}
	})
}

// A shorter interval counts at once, and the targets are spread over it.
func TestShorterInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := farm{}
		g := Group{Options: Options{Interval: time.Hour, Seed: 1}, Checker: f, Targets: f.targets(20)}
		w := run(g)
		defer w.stop()
		<-time.After(3 * time.Hour)
		begun := time.Since(f.of(g.Targets[0]).start)
		g.Interval = 10 * time.Second
		w.groups[0].Update(g)
		<-time.After(g.Interval + time.Second)
		halves := [2]int{}
		for _, target := range g.Targets {
			times := f.of(target).times()
			first := slices.IndexFunc(times, func(at time.Duration) bool { return at >= begun })
			if first < 0 {
				t.Fatalf("%s was not checked within the new interval", target.Backend.Address)
			}
			halves[min(int((times[first]-begun)/(g.Interval/2)), 1)]++
		}
		if halves[0] < 4 || halves[1] < 4 {
			t.Errorf("%d checks in the first half of the interval, %d in the second", halves[0], halves[1])
		}
	})
}
