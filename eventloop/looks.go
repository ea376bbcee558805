package eventloop

import "time"

const (
	// pauseLeast: a loop that is so much later than it wanted to be has stood still (SIGSTOP, a frozen virtual machine, a
	// debugger), or its CPU was busy otherwise.
	pauseLeast = int64(50 * time.Millisecond)
	// After a pause, timers wait for catchUpLeast, since what has come meanwhile may lead to more, on other loops too, and
	// then until the loop has looked at all there is, but no longer than catchUpMost.
	catchUpLeast = int64(20 * time.Millisecond)
	catchUpMost  = int64(100 * time.Millisecond)
)

// looks knows up to which time a loop has looked for events. Timers expire up to that time and not up to the present
// one, or those that became due during a pause would expire before the events that came in it: a connection would be
// idle although its next request waits.
type looks struct {
	// upTo is the clock before the last wait. That a signal ends a wait is no matter: it looks before it sleeps.
	upTo int64
	woke int64 // when a pause was noticed; 0 when the loop has caught up
}

// done notes that a wait which was to last for asked at most (negative: for ever) has ended now; before is the clock
// before it, all tells whether everything has been passed on that had come by then.
func (k *looks) done(before, now int64, asked time.Duration, all bool) {
	switch awake := now - k.woke; {
	case k.woke == 0 && asked >= 0 && now-before-int64(asked) > pauseLeast:
		k.woke = now
		return
	case k.woke != 0 && (awake < catchUpLeast || !all && awake < catchUpMost):
		return
	}
	k.woke, k.upTo = 0, before
}

// notBefore is a time before which no timer expires.
func (k *looks) notBefore() int64 {
	if k.woke == 0 {
		return 0
	}
	return k.woke + catchUpLeast
}
