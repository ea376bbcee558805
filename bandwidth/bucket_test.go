package bandwidth

import (
	"math"
	"testing"
	"time"
)

// A world moves flows through a bucket on a clock of its own. Like an event loop, it serves the
// bucket only at ticks.
type world struct {
	t      *testing.T
	now    int64
	bucket *Bucket
	rate   Rate
	wake   int64 // 0: no alarm
	events Queue[func()]
	flows  []*flow
}

// tick is that of an event loop's timers.
const tick = int64(1 << 23)

func newWorld(t *testing.T, rate int64) *world {
	w := &world{t: t, now: 1}
	w.rate.Store(rate)
	w.bucket = NewBucket(&w.rate)
	return w
}

// A flow asks for most bytes, moves what it gets in a time, and asks again after a pause.
type flow struct {
	w           *world
	turn        Turn
	most        int
	moves       time.Duration
	pause       time.Duration
	moved       int64
	longest     time.Duration // wait
	unused      int           // bytes of each grant that it gives back
	over        bool
	askedAt     int64
	asks, waits int
}

func (w *world) flow(most int, moves, pause time.Duration) *flow {
	f := &flow{w: w, most: most, moves: moves, pause: pause}
	f.turn.Owner = f
	f.turn.Join(w.bucket)
	w.flows = append(w.flows, f)
	w.after(0, f.ask)
	return f
}

func (w *world) after(d time.Duration, f func()) { w.events.Push(uint64(w.now+int64(d)), f) }

func (f *flow) ask() {
	if f.over {
		return
	}
	f.asks++
	f.askedAt = f.w.now
	n, wake := f.turn.Take(f.most, f.w.now)
	if wake != 0 {
		if f.w.wake != 0 {
			f.w.t.Error("a second alarm")
		}
		f.w.setAlarm(wake)
	}
	if n > 0 {
		f.move(n)
	}
}

func (f *flow) move(n int) {
	f.longest = max(f.longest, time.Duration(f.w.now-f.askedAt))
	f.w.after(f.moves, func() {
		f.moved += int64(n - f.unused)
		f.turn.Refund(f.unused)
		f.w.after(f.pause, f.ask)
	})
}

func (w *world) setAlarm(wake int64) {
	w.wake = wake
	at := (wake + tick - 1) &^ (tick - 1)
	w.events.Push(uint64(max(at, w.now+1)), w.serve)
}

func (w *world) serve() {
	w.wake = 0
	served, wake := w.bucket.Serve(w.now, nil)
	if wake != 0 {
		w.setAlarm(wake)
	}
	for _, t := range served {
		f := t.Owner.(*flow)
		n, waited := t.Granted()
		if got := time.Duration(w.now - f.askedAt); got != waited {
			w.t.Errorf("waited for %v, reported as %v", got, waited)
		}
		f.waits++
		f.move(n)
	}
}

func (w *world) run(d time.Duration) {
	for end := w.now + int64(d); w.events.Len() > 0; {
		if _, at := w.events.First(); int64(at) > end {
			w.now = end
			return
		} else {
			w.now = max(w.now, int64(at))
		}
		w.events.Pop()()
	}
}

// moved is the bytes of all flows.
func (w *world) moved() (n int64) {
	for _, f := range w.flows {
		n += f.moved
	}
	return n
}

func within(t *testing.T, what string, got, want, percent float64) {
	t.Helper()
	if math.Abs(got-want) > want*percent/100 {
		t.Errorf("%s: %.0f, want %.0f within %v %%", what, got, want, percent)
	}
}

func TestBucketIsExact(t *testing.T) {
	for _, rate := range []int64{1e3, 2e4, 1e6, 1e7, 1e9} {
		for _, flows := range []int{1, 2, 7, 100} {
			w := newWorld(t, rate)
			for i := range flows {
				w.flow(256<<10, time.Duration(10+i)*time.Microsecond, 0)
			}
			w.run(10 * time.Second)
			within(t, "bytes over 10s", float64(w.moved()), 10*float64(rate), 2.5)
		}
	}
}

// TestFlowsShareFairly: flows that always have more to move get the same, however fast they ask,
// and however much they ask for.
func TestFlowsShareFairly(t *testing.T) {
	for _, rate := range []int64{5e4, 1e6, 1e7, 1e9} {
		w := newWorld(t, rate)
		w.flow(256<<10, 10*time.Microsecond, 0)
		slow := w.flow(256<<10, 300*time.Microsecond, 0)
		w.flow(16<<10, 10*time.Microsecond, 0)
		w.flow(1460, 5*time.Microsecond, 0)
		if rate == 1e9 { // the share of a tick is more than these could move at once
			slow.moves = 10 * time.Microsecond
			w.flows[2].over, w.flows[3].over = true, true
			w.flows = w.flows[:2]
		}
		half := w.flow(256<<10, 10*time.Microsecond, 0)
		half.unused = 2 // some of each grant
		w.run(10 * time.Second)
		for _, f := range w.flows {
			within(t, "share", float64(f.moved), float64(10*rate)/float64(len(w.flows)), 5)
		}
	}
}

// TestLateFlowGetsItsShare: a flow that has been alone for long is not starved by later ones, and
// does not starve them.
func TestLateFlowGetsItsShare(t *testing.T) {
	w := newWorld(t, 1e6)
	old := w.flow(256<<10, 10*time.Microsecond, 0)
	w.run(30 * time.Second)
	before := old.moved
	young := w.flow(256<<10, 10*time.Microsecond, 0)
	w.run(2 * time.Second)
	within(t, "the old flow", float64(old.moved-before), 1e6, 15)
	within(t, "the new flow", float64(young.moved), 1e6, 15)
	if old.longest > 500*time.Millisecond {
		t.Errorf("the old flow waited for %v", old.longest)
	}
}

// TestLightFlowIsServedSoon: beside bulk, a flow that moves little waits for a tick or two.
func TestLightFlowIsServedSoon(t *testing.T) {
	for _, bulk := range []int{1, 20, 200} {
		w := newWorld(t, 1e7)
		for range bulk {
			w.flow(256<<10, 10*time.Microsecond, 0)
		}
		w.run(time.Second)
		light := w.flow(600, 10*time.Microsecond, 30*time.Millisecond)
		w.run(5 * time.Second)
		if light.longest > 30*time.Millisecond || light.asks < 100 {
			t.Errorf("beside %d bulk flows, a light one asked %d times, and waited for up to %v", bulk, light.asks, light.longest)
		}
	}
}

// TestBurstPassesAtOnce: while the bucket has room, nothing waits, and no alarm is set.
func TestBurstPassesAtOnce(t *testing.T) {
	w := newWorld(t, 1e7)
	w.flow(100_000, 10*time.Microsecond, 20*time.Millisecond)
	w.run(10 * time.Second)
	if f := w.flows[0]; f.waits > 0 || f.asks < 450 {
		t.Errorf("a flow below the limit asked %d times and waited %d times", f.asks, f.waits)
	}
}

// TestFewAlarms: the number of alarms follows from time, not from the rate.
func TestFewAlarms(t *testing.T) {
	for _, rate := range []int64{1e3, 1e6, 1e9} {
		w := newWorld(t, rate)
		f := w.flow(256<<10, 10*time.Microsecond, 0)
		w.run(10 * time.Second)
		if most := int(10 * time.Second / time.Duration(tick)); f.waits > most || rate == 1e3 && f.waits > 200 {
			t.Errorf("at %d bytes/s, a flow waited %d times in 10s", rate, f.waits)
		}
	}
}

func TestRateChanges(t *testing.T) {
	w := newWorld(t, 1e5)
	f := w.flow(64<<10, 10*time.Microsecond, 0)
	w.run(5 * time.Second)
	w.rate.Store(1e6)
	before := f.moved
	w.run(5 * time.Second)
	within(t, "after the rate was raised", float64(f.moved-before), 5e6, 5)
	w.rate.Store(1e5)
	before = f.moved
	w.run(5 * time.Second)
	within(t, "after the rate was lowered", float64(f.moved-before), 5e5, 15)
	w.rate.Store(0)
	w.run(200 * time.Millisecond)
	if f.turn.waiting || f.turn.Limited() {
		t.Error("a flow waits for a limit that is gone")
	}
	f.over = true
	w.run(time.Second)
	w.rate.Store(1e6)
	f.over = false
	before = f.moved
	w.after(0, f.ask)
	w.run(5 * time.Second)
	within(t, "with a limit again", float64(f.moved-before), 5e6, 5)
}

func TestDebtIsPaidBack(t *testing.T) {
	w := newWorld(t, 1e5)
	f := w.flow(16<<10, 0, 0)
	w.run(time.Second)
	f.turn.Refund(-200_000) // moved without a grant
	before := f.moved
	w.run(4 * time.Second)
	within(t, "after 2s were used ahead", float64(f.moved-before), 2e5, 10)
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t, 1e5)
	a, b := w.flow(64<<10, 0, 0), w.flow(64<<10, 0, 0)
	w.run(time.Second)
	if !a.turn.waiting || !a.turn.Withdraw() || a.turn.Withdraw() {
		t.Error("a turn that waits is withdrawn once")
	}
	before := b.moved
	w.run(5 * time.Second)
	within(t, "the rest of the flows", float64(b.moved-before), 5e5, 5)
	if !b.turn.Withdraw() {
		t.Error("the other turn does not wait")
	}
	b.over = true
	w.run(time.Second)
	if w.wake != 0 || w.bucket.alarm {
		t.Error("an empty bucket keeps its alarm")
	}
}
