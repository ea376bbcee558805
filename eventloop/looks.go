package eventloop

import "time"

const (
	// pauseLeast: a loop that wakes that late was stopped (SIGSTOP, a frozen virtual machine, a
	// debugger), or its CPU was busy with other work.
	pauseLeast = int64(50 * time.Millisecond)
	// After a pause, timers wait for an eighth of it, within these bounds, since handling events
	// leads to more events, on other loops too. Then they wait until one look has found all events,
	// but no longer than catchUpMore.
	catchUpLeast = int64(20 * time.Millisecond)
	catchUpMost  = int64(250 * time.Millisecond)
	catchUpMore  = int64(80 * time.Millisecond)
)

// looks records up to which time a loop has looked for events. Timers expire up to that time, not
// up to now. Otherwise, timers that became due during a pause would expire before the events that
// came during it, and a connection would count as idle although its next request is waiting.
type looks struct {
	// upTo is the clock before the last wait. A wait that a signal interrupts counts too: it looks
	// before it sleeps.
	upTo int64
	// caughtUp is when timers may expire again after a pause; 0 when they may.
	caughtUp int64
}

// done notes that a wait has ended. It began at before and was to last for asked at most (negative:
// forever). all says whether it passed on everything that had come by then.
func (k *looks) done(before, now int64, asked time.Duration, all bool) {
	late := now - before - int64(asked)
	switch {
	case k.caughtUp == 0 && asked >= 0 && late > pauseLeast:
		k.caughtUp = now + min(max(late/8, catchUpLeast), catchUpMost)
		return
	case k.caughtUp != 0 && (now < k.caughtUp || !all && now < k.caughtUp+catchUpMore):
		return
	}
	k.caughtUp, k.upTo = 0, before
}
