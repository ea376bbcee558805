package proxy

import "time"

const (
	// stoodStill: the timer is asked every few milliseconds. If it is not asked for that long, the process has stood still
	// (SIGSTOP, a frozen virtual machine).
	stoodStill = 250 * time.Millisecond
	// awakeGrace is the least time left after a pause, so that what came meanwhile can be handled. It is halved with each
	// further pause, so that the timer always ends.
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

// over reports whether the time is over. It has to be called every few milliseconds.
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
