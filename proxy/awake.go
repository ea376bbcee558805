package proxy

import "time"

const (
	// stoodStill: the timer is polled every few milliseconds. If it was not polled for this long,
	// the process was paused (SIGSTOP, a frozen virtual machine).
	stoodStill = 250 * time.Millisecond
	// awakeGrace is the least time left after a pause, so that the process can handle what arrived
	// meanwhile. Each further pause halves it, so that the timer always ends.
	awakeGrace = time.Second
)

// awakeTimer measures only the time during which the process runs.
type awakeTimer struct {
	left, grace time.Duration
	asked       time.Time
}

func newAwakeTimer(limit time.Duration, now time.Time) awakeTimer {
	return awakeTimer{left: limit, grace: min(limit, awakeGrace), asked: now}
}

// over reports whether the time is up. It has to be called every few milliseconds.
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
