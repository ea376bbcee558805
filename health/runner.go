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
	notify   func(notice func()) // must not block
	verdicts chan verdict        // has room for all that there can be
	arrived  []verdict           // taken from verdicts and not concluded
	checks   sync.WaitGroup      // those on goroutines

	now    int64       // when this turn of the loop began (rawsys.Monotonic)
	wake   int64       // the latest time for the next turn to begin
	stood  int64       // how long this process has stood still in total
	agenda *iheap.Heap // of targets, by when their checks begin or time out
	tcp    lane
	other  lane
	prober prober
	ended  func(target int32, errno unix.Errno) // for prober.poll

	lastBegun   int64 // when a check began last
	inTrouble   bool
	lastTrouble int64
}

// verdict is how a check on a goroutine has ended.
type verdict struct {
	target int32
	err    error
}

func newRunner(m *Monitor, notify func(notice func())) *runner {
	r := &runner{
		m: m, notify: notify, verdicts: make(chan verdict, maxOther),
		agenda: iheap.New(len(m.targets)),
		tcp:    newLane(maxTCP, len(m.groups)),
		other:  newLane(maxOther, len(m.groups)),
		prober: prober{epoll: -1},
	}
	r.ended = r.answered
	return r
}

// run is the loop.
func (r *runner) run(ctx context.Context) {
	r.begin()
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
		case <-timer.C:
		}
		timer.Reset(r.turn(ctx))
	}
}

// turn does what is due, and returns how long nothing will be due unless a verdict comes.
func (r *runner) turn(ctx context.Context) time.Duration {
	// Take verdicts before reading the clock: if they are late because this process stood still,
	// r.stood shows that when they are handled.
	for range len(r.verdicts) {
		r.arrived = append(r.arrived, <-r.verdicts)
	}
	r.look(r.wake)
	r.prober.poll(r.ended) // before anything is found to have timed out
	for _, v := range r.arrived {
		r.conclude(v.target, v.err)
	}
	r.arrived = r.arrived[:0]
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

// begin puts all targets on the agenda.
func (r *runner) begin() {
	now := time.Now()
	r.now = rawsys.Monotonic()
	r.wake = r.now
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for i := range r.m.targets {
		t := &r.m.targets[i]
		r.m.results[i].Since = now
		t.schedule = NewSchedule(r.m.groups[t.group].Options, r.now, i, len(r.m.targets))
		r.plan(int32(i), t.schedule.Due)
	}
}

// plan puts target on the agenda for the time at, or moves it there.
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
		target, t := int32(next), &r.m.targets[next]
		switch {
		case t.probe >= 0:
			r.prober.cancel(t.probe)
			t.probe = -1
			r.conclude(target, errConnectTimeout)
		case t.addr != nil:
			r.tcp.wait(t.group, target)
		default:
			r.other.wait(t.group, target)
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
	t := &r.m.targets[target]
	r.lastBegun, t.stood = r.now, r.stood
	probe, errno := r.prober.start(target, t.addr)
	if probe < 0 {
		r.conclude(target, errorOf(errno))
		return
	}
	t.probe = probe
	// A tick later, because what is due within a tick is done.
	r.plan(target, r.now+int64(r.m.groups[t.group].Timeout+tick))
}

// answered concludes a check by the prober.
func (r *runner) answered(target int32, errno unix.Errno) {
	r.m.targets[target].probe = -1
	r.conclude(target, errorOf(errno))
}

// check begins a check on a goroutine.
func (r *runner) check(ctx context.Context, target int32) {
	t := &r.m.targets[target]
	group := &r.m.groups[t.group]
	r.lastBegun, t.stood = r.now, r.stood
	r.checks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, group.Timeout)
		defer cancel()
		to := &group.Targets[t.index]
		r.verdicts <- verdict{target, group.Checker.Check(ctx, to.Addr, to.Name)}
	})
}

// conclude handles the end of a check.
func (r *runner) conclude(target int32, err error) {
	t := &r.m.targets[target]
	group := &r.m.groups[t.group]
	if t.addr != nil {
		r.tcp.leave()
	} else {
		r.other.leave()
	}
	r.m.checks.Add(1)
	doubt := true
	switch {
	case err != nil && isLocal(err):
		r.trouble(err)
	case err != nil && t.repeats < maxRepeats && r.stoodStill(t):
		// The answer may have waited, here or in the network. The failure does not count, and the
		// check is repeated at once.
		t.repeats++
		t.schedule.Due = r.now
		r.plan(target, r.now)
		return
	default:
		t.repeats = 0
		r.observe(target, err)
		doubt = t.status.InDoubt()
	}
	t.schedule.Next(group.Options, r.now, doubt)
	r.plan(target, t.schedule.Due)
}

// stoodStill reports whether this process stood still for a quarter of the timeout or longer during
// the check of t.
func (r *runner) stoodStill(t *target) bool {
	return r.stood-t.stood >= int64(r.m.groups[t.group].Timeout/4)
}

// observe records the result of a check.
func (r *runner) observe(target int32, err error) {
	t := &r.m.targets[target]
	group := &r.m.groups[t.group]
	before := t.status.Health
	checks := t.status.Observe(err == nil, group.Rise, group.Fall)
	at := time.Now()

	r.m.mu.Lock()
	result := &r.m.results[target]
	result.At, result.Err = at, err
	if checks > 0 {
		result.Health, result.Since = t.status.Health, at
	}
	r.m.mu.Unlock()

	if checks > 0 && r.m.changed != nil {
		change := Change{group.Targets[t.index].Backend, before, t.status.Health, err, checks}
		r.notify(func() { r.m.changed(change) })
	}
}

// trouble reports an error of this machine, once.
func (r *runner) trouble(err error) {
	r.lastTrouble = r.now
	if !r.inTrouble {
		r.inTrouble = true
		r.tellTrouble(err)
	}
}

func (r *runner) endTrouble() {
	if r.inTrouble && r.now-r.lastTrouble > int64(calm) {
		r.inTrouble = false
		r.tellTrouble(nil)
	}
}

func (r *runner) tellTrouble(err error) {
	if r.m.Trouble != nil {
		r.notify(func() { r.m.Trouble(err) })
	}
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
