package proxy

import (
	"testing"
	"time"
)

// TestAwakeTimer measures two seconds in which the process is paused now and then.
func TestAwakeTimer(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		limit time.Duration
		// gaps are times between two calls; other calls are 5 ms apart.
		gaps map[int]time.Duration // by the number of the call
		want time.Duration         // in all
	}{
		"awake":                   {2 * time.Second, nil, 2 * time.Second},
		"slow":                    {2 * time.Second, map[int]time.Duration{100: 200 * ms}, 2 * time.Second},
		"at the beginning":        {2 * time.Second, map[int]time.Duration{1: time.Hour}, time.Hour + 2*time.Second - stoodStill},
		"shortly before the end":  {2 * time.Second, map[int]time.Duration{398: time.Minute}, time.Minute + 1985*ms + awakeGrace},
		"twice before the end":    {2 * time.Second, map[int]time.Duration{398: time.Minute, 399: time.Minute}, 2*time.Minute + 1985*ms + awakeGrace - stoodStill},
		"nothing is waited for":   {0, nil, 0},
		"nothing, and no process": {0, map[int]time.Duration{1: time.Hour}, 0},
	} {
		began := time.Unix(0, 0)
		now, timer := began, newAwakeTimer(test.limit, began)
		for i := 1; !timer.over(now); i++ {
			if gap, ok := test.gaps[i]; ok {
				now = now.Add(gap)
			} else {
				now = now.Add(5 * ms)
			}
			if now.Sub(began) > 3*time.Hour {
				t.Fatalf("%s: it is never over", name)
			}
		}
		if got := now.Sub(began); got != test.want {
			t.Errorf("%s: over after %v, want %v", name, got, test.want)
		}
	}
	// It ends even if the process is paused all the time.
	began := time.Unix(0, 0)
	now, timer := began, newAwakeTimer(time.Minute, began)
	for !timer.over(now) {
		if now = now.Add(time.Second); now.Sub(began) > time.Hour {
			t.Fatal("it is never over when each question comes late")
		}
	}
}
