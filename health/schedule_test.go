package health

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"l4proxy/backend"
)

const ms = int64(time.Millisecond)

func TestFewTargetsBeginAtOnce(t *testing.T) {
	for index := range allAtOnce {
		if s := NewSchedule(Options{}, 7, index, allAtOnce); s.Due != 7 {
			t.Fatalf("target %d is due at %d, want 7", index, s.Due)
		}
	}
}

func TestManyTargetsAreSpreadAtTheStart(t *testing.T) {
	const targets = 10_000
	for _, test := range []struct{ interval, within time.Duration }{
		{100 * time.Millisecond, 100 * time.Millisecond},
		{time.Minute, time.Second},
	} {
		last, step := int64(-1), int64(test.within)/targets
		for index := range targets {
			due := NewSchedule(Options{Interval: test.interval}, 0, index, targets).Due
			if index > 0 && (due-last < step-1 || due-last > step+1) || due < 0 || due >= int64(test.within) {
				t.Fatalf("interval %v: target %d is due at %d, the one before at %d, want a step of %d up to %v",
					test.interval, index, due, last, step, test.within)
			}
			last = due
		}
	}
}

// settled is a schedule that has its position in the interval.
func settled(o Options, index int) Schedule {
	s := NewSchedule(o, 0, index, 1)
	s.Next(o, s.Due, false)
	return s
}

func TestJitterIsUniformBelowTheInterval(t *testing.T) {
	const n = 20_000
	for _, jitter := range []float64{0, 0.1, 0.5} {
		for _, doubt := range []bool{false, true} {
			o := Options{Interval: time.Second, FastInterval: 300 * time.Millisecond, Jitter: jitter, Seed: 1}
			most := float64(o.Interval)
			if doubt {
				most = float64(o.FastInterval)
			}
			s := settled(o, 0)
			sum, quarters := 0.0, [4]int{}
			for range n {
				before := s.Due
				s.Next(o, s.Due, doubt)
				gap := float64(s.Due - before)
				if gap > most || gap < most*(1-jitter)-1 {
					t.Fatalf("jitter %v, doubt %v: a gap of %v, want at most %v less of %v",
						jitter, doubt, time.Duration(gap), jitter, time.Duration(most))
				}
				sum += gap
				if jitter > 0 {
					quarters[min(int((most-gap)/(most*jitter)*4), 3)]++
				}
			}
			if mean, want := sum/n, most*(1-jitter/2); math.Abs(mean-want) > most*jitter/50+1 {
				t.Errorf("jitter %v, doubt %v: the mean gap is %v, want %v", jitter, doubt, time.Duration(mean), time.Duration(want))
			}
			for i, count := range quarters {
				if jitter > 0 && (count < n/4*9/10 || count > n/4*11/10) {
					t.Errorf("jitter %v, doubt %v: %d of %d gaps in quarter %d", jitter, doubt, count, n, i)
				}
			}
		}
	}
}

func TestChanceComesFromTheSeed(t *testing.T) {
	dues := func(seed uint64, index int) [100]int64 {
		o := Options{Jitter: 0.5, Seed: seed}
		s := NewSchedule(o, 0, index, 2)
		var all [100]int64
		for i := range all {
			s.Next(o, s.Due, false)
			all[i] = s.Due
		}
		return all
	}
	first := dues(1, 0)
	if again := dues(1, 0); again != first {
		t.Error("the same seed gives other times")
	}
	if first == dues(2, 0) || first == dues(1, 1) {
		t.Error("another seed, or another target, gives the same times")
	}
}

func TestTargetsThatBeginTogetherPart(t *testing.T) {
	const targets = 10_000
	for _, jitter := range []float64{0, 0.1} {
		o := Options{Interval: time.Second, Jitter: jitter}
		var tenths [10]int
		for index := range targets {
			s := settled(o, index)
			tenths[min(s.Due*10/int64(time.Second), 9)]++
		}
		for i, count := range tenths {
			if count < targets/10*8/10 || count > targets/10*12/10 {
				t.Errorf("jitter %v: %d of %d targets in tenth %d of the interval", jitter, count, targets, i)
			}
		}
	}
}

func TestDelaysDoNotAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Interval: time.Second, Jitter: rapid.Float64Range(0, 0.5).Draw(t, "jitter"), Seed: rapid.Uint64().Draw(t, "seed")}
		punctual, late := settled(o, 0), settled(o, 0)
		for range 20 {
			punctual.Next(o, punctual.Due, false)
			late.Next(o, late.Due+rapid.Int64Range(0, 400*ms).Draw(t, "delay"), false)
		}
		if punctual.Due != late.Due {
			t.Fatalf("due at %d, late at %d", punctual.Due, late.Due)
		}
	})
}

func TestMissedChecksAreNotMadeUpFor(t *testing.T) {
	o := Options{Interval: time.Second}
	s := settled(o, 0)
	woken := s.Due + int64(time.Hour)
	s.Next(o, woken, false)
	if s.Due != woken {
		t.Errorf("due %v after a pause, want at once", time.Duration(s.Due-woken))
	}
	s.Next(o, woken, false)
	if s.Due != woken+int64(time.Second) {
		t.Errorf("due %v after that, want 1s", time.Duration(s.Due-woken))
	}
}

func TestDefaults(t *testing.T) {
	for _, test := range []struct{ given, want Options }{
		{Options{}, Options{2 * time.Second, 500 * time.Millisecond, time.Second, 0, 2, 3, 0}},
		{Options{Interval: 200 * time.Millisecond}, Options{200 * time.Millisecond, 100 * time.Millisecond, time.Second, 0, 2, 3, 0}},
		{Options{Interval: 50 * time.Millisecond}, Options{50 * time.Millisecond, 50 * time.Millisecond, time.Second, 0, 2, 3, 0}},
		{Options{time.Millisecond, 1, 1, 2, 1, 1, 9}, Options{minInterval, minInterval, 1, 1, 1, 1, 9}},
	} {
		if got := test.given.withDefaults(); got != test.want {
			t.Errorf("%+v: %+v, want %+v", test.given, got, test.want)
		}
	}
}

// A dead backend is down after at most Fall intervals and one timeout, whatever chance does,
// however it died, and however long its last good answer took.
func TestTimeToDetectIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string, from, to time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(from), int64(to)).Draw(t, what))
		}
		o := Options{Rise: 2, Fall: rapid.IntRange(1, 5).Draw(t, "fall"), Seed: rapid.Uint64().Draw(t, "seed"),
			Jitter: rapid.Float64Range(0, 0.5).Draw(t, "jitter")}
		o.Interval = draw("interval", 100*time.Millisecond, 5*time.Second)
		o.FastInterval = draw("fast interval", minInterval, o.Interval)
		o.Timeout = draw("timeout", time.Millisecond, o.Interval)
		dies := int64(draw("dies", o.Interval, 20*o.Interval))
		silent := rapid.Bool().Draw(t, "silent")

		schedule, status := NewSchedule(o, 0, 0, 1), Status{}
		for now := int64(0); status.Health != backend.HealthDown; {
			begin := max(schedule.Due, now)
			alive, took := begin < dies, time.Duration(0)
			if alive {
				took = draw("answer", 0, o.Timeout)
			} else if silent {
				took = o.Timeout
			}
			now = begin + int64(took)
			status.Observe(alive, o.Rise, o.Fall)
			schedule.Next(o, now, status.InDoubt())
			if limit := time.Duration(o.Fall)*o.Interval + o.Timeout; now > dies+int64(limit) {
				t.Fatalf("%+v: down %v after it died, want at most %v", o, time.Duration(now-dies), limit)
			}
		}
	})
}
