package proxy

import "time"

const (
	// stoodStill: a timer that is asked every few milliseconds, and then not for that long, has stood still with the
	// process (SIGSTOP, a frozen virtual machine).
	stoodStill = 250 * time.Millisecond
	// awakeGrace is what is left at least after that, so that what has come meanwhile can be handled. Each further time
	// it is half of that: it must not go on for ever.
	awakeGrace = time.Second
)

// awakeTimer measures time in which the process runs.
type awakeTimer struct {
	left, grace time.Duration
	asked       time.Time
}

func newAwakeTimer(limit time.Duration, now time.Time) awakeTimer {
	return awakeTimer{left: limit, grace: min(limit, awakeGrace), asked: now}
}

// over has to be asked again and again, and reports whether the time is over.
func (t *awakeTimer) over(now time.Time) bool {
	passed := now.Sub(t.asked)
	t.asked = now
	t.left -= min(passed, stoodStill)
	if passed > stoodStill {
		t.left = max(t.left, t.grace)
		t.grace /= 2
	}
	return t.left <= 0
}
