package proxy

import "time"

// A killPace says how many connections may be ended. After a pause of the process, or a hand-over
// that has failed, it does not catch up: a burst of clients that reconnect is what a rate prevents.
type killPace struct {
	rate float64 // per second; 0 is no limit
	due  float64
	last time.Time
}

// now returns how many connections may be ended now.
func (p *killPace) now(now time.Time) int {
	if p.rate == 0 {
		return killSlice
	}
	p.due = min(p.due+p.rate*now.Sub(p.last).Seconds(), max(1, 2*p.rate*killEvery.Seconds()))
	p.last = now
	return min(int(p.due), killSlice)
}

// ended notes that connections were ended. It returns the time until the next one is due.
func (p *killPace) ended(n int) time.Duration {
	if p.rate == 0 {
		return 0
	}
	if p.due -= float64(n); p.due >= 1 {
		return 0
	}
	return max(killEvery, time.Duration((1-p.due)/p.rate*float64(time.Second)))
}
