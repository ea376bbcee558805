package eventloop

import "time"

const (
	// pauseLeast: a loop that is so much later than it wanted to be has stood still (SIGSTOP, a frozen virtual machine, a
	// debugger), or its CPU was busy otherwise.
	pauseLeast = int64(50 * time.Millisecond)
	// After a pause, timers wait for an eighth of it, within these bounds, since what has come meanwhile leads to more, on
	// other loops too; and then until the loop has looked at all there is, but no longer than catchUpMore.
	catchUpLeast = int64(20 * time.Millisecond)
	catchUpMost  = int64(250 * time.Millisecond)
	catchUpMore  = int64(80 * time.Millisecond)
)

// looks knows up to which time a loop has looked for events. Timers expire up to that time and not up to the present
// one, or those that became due during a pause would expire before the events that came in it: a connection would be
// idle although its next request waits.
type looks struct {
	// upTo is the clock before the last wait. That a signal ends a wait is no matter: it looks before it sleeps.
	upTo int64
	// caughtUp is when timers may expire again after a pause; 0 when they may.
	caughtUp int64
}

// done notes that a wait which was to last for asked at most (negative: for ever) has ended now; before is the clock
// before it, all tells whether everything has been passed on that had come by then.
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
