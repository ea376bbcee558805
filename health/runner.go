package health

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/iheap"
	"l4proxy/internal/rawsys"
)

const (
	// maxPoll is the longest pause between two polls for answers to TCP checks. It is well below
	// the 200 ms for which the kernel holds back an ACK.
	maxPoll = 50 * time.Millisecond
	// minPause is how long the loop pauses even if it is behind, for other goroutines.
	minPause = time.Millisecond
	// calm is how long checks must work for trouble to be over.
	calm = 10 * time.Second
	// asleep is how long the runner pauses when there is nothing to do.
	asleep = time.Hour
	// still is how late a turn must begin or end to show that this process has stood still: it was
	// stopped, or its virtual machine was frozen.
	still = 2 * tick
	// maxRepeats is how many failures in a row are excused for that reason. A machine that is
	// always late finds its dead backends later, but it finds them.
	maxRepeats = 3
)

// runner is the loop of a Monitor, and what only its goroutine touches.
type runner struct {
	m        *Monitor
	verdicts chan verdict   // has room for all that there can be
	arrived  []verdict      // taken from verdicts and not concluded
	checks   sync.WaitGroup // those on goroutines

	targets   []target
	freeSlots []int32 // in targets
	groups    int32   // ids of groups that were ever given out
	freeIDs   []int32

	now    int64      // when this turn of the loop began (rawsys.Monotonic)
	wake   int64      // when the next turn is to begin at the latest
	stood  int64      // how long this process has stood still in total
	agenda iheap.Heap // of targets, by when their checks begin or time out
	tcp    lane
	other  lane
	prober prober
	ended  func(target int32, errno unix.Errno) // for prober.poll

	lastBegun   int64 // when a check began last
	inTrouble   bool
	lastTrouble int64
}

func newRunner(m *Monitor) *runner {
	r := &runner{
		m: m, verdicts: make(chan verdict, maxOther),
		tcp:    lane{limit: maxTCP},
		other:  lane{limit: maxOther},
		prober: prober{epoll: -1},
		now:    rawsys.Monotonic(),
	}
	r.wake = r.now
	r.ended = r.answered
	return r
}

// run is the loop.
func (r *runner) run(ctx context.Context) {
	timer := time.NewTimer(r.turn(ctx))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.prober.closeAll()
			r.checks.Wait()
			return
		case v := <-r.verdicts:
			r.arrived = append(r.arrived, v)
		case <-r.m.orders.Ready:
		case <-timer.C:
		}
		timer.Reset(r.turn(ctx))
	}
}

// turn does what is due, and returns how long nothing will be due unless a verdict or an order
// comes.
func (r *runner) turn(ctx context.Context) time.Duration {
	// Take verdicts before reading the clock: if they are late because this process stood still,
	// r.stood shows that when they are handled.
	for range len(r.verdicts) {
		r.arrived = append(r.arrived, <-r.verdicts)
	}
	r.look(r.wake)
	r.prober.poll(r.ended) // before anything is found to have timed out
	for _, v := range r.arrived {
		r.checked(v)
	}
	r.arrived = r.arrived[:0]
	r.m.orders.TakeAll(func(order func(*runner)) { order(r) })
	r.doDue()
	r.enter(ctx)
	r.endTrouble()
	return r.pause()
}

// look reads the clock, which should not be far past the given time.
func (r *runner) look(due int64) {
	r.now = rawsys.Monotonic()
	if late := r.now - due; late >= int64(still) {
		r.stood += late
	}
}

// plan puts target on the agenda at the given time, or moves it there.
func (r *runner) plan(target int32, at int64) { r.agenda.Set(int(target), uint64(at), 0) }

// due is the time for which target is on the agenda.
func (r *runner) due(target int) int64 { return int64(r.agenda.Key(target)) }

// doDue does what is due by now or within a tick: few turns of the loop make many checks.
func (r *runner) doDue() {
	for {
		next := r.agenda.Min()
		if next < 0 || r.due(next) > r.now+int64(tick) {
			return
		}
		r.agenda.Remove(next)
		target, t := int32(next), &r.targets[next]
		switch {
		case t.probe >= 0:
			r.prober.cancel(t.probe)
			t.probe = -1
			r.conclude(target, errConnectTimeout)
		case t.addr != nil:
			r.tcp.wait(t.group.id, target)
		default:
			r.other.wait(t.group.id, target)
		}
	}
}

// enter begins the checks for which the lanes have free slots.
func (r *runner) enter(ctx context.Context) {
	for {
		target, ok := r.tcp.enter()
		if !ok {
			break
		}
		r.probe(target)
	}
	for {
		target, ok := r.other.enter()
		if !ok {
			break
		}
		r.check(ctx, target)
	}
}

// probe begins a check by the prober.
func (r *runner) probe(target int32) {
	t := &r.targets[target]
	r.lastBegun, t.stood = r.now, r.stood
	probe, errno := r.prober.start(target, t.addr)
	if probe < 0 {
		r.conclude(target, errorOf(errno))
		return
	}
	t.probe = probe
	// A tick later, because what is due within a tick is done.
	r.plan(target, r.now+int64(t.group.Timeout+tick))
}

// answered concludes a check by the prober.
func (r *runner) answered(target int32, errno unix.Errno) {
	r.targets[target].probe = -1
	r.conclude(target, errorOf(errno))
}

// check begins a check on a goroutine.
func (r *runner) check(ctx context.Context, target int32) {
	t := &r.targets[target]
	g := t.group
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(ctx)
	}
	r.lastBegun, t.stood = r.now, r.stood
	t.busy = true
	g.busy++
	parent, timeout, checker, addr, name := g.ctx, g.Timeout, g.checker, t.Addr, t.Name
	r.checks.Go(func() {
		ctx, cancel := context.WithTimeout(parent, timeout)
		defer cancel()
		r.verdicts <- verdict{target, checker.Check(ctx, addr, name)}
	})
}

// pause is how long nothing is to be done.
func (r *runner) pause() time.Duration {
	r.look(r.now)
	at := r.now + int64(asleep)
	if next := r.agenda.Min(); next >= 0 {
		at = r.due(next)
	}
	if r.prober.busy > 0 || r.other.busy > 0 {
		// Soon at first, then less and less often: a server that does not answer at once may never
		// do so. The prober must be polled. Other checks send their verdict, but only a late turn
		// shows that this process stood still.
		at = min(at, r.now+min(max(r.now-r.lastBegun, int64(tick)), int64(maxPoll)))
	}
	r.wake = max(at, r.now+int64(minPause))
	return time.Duration(r.wake - r.now)
}
