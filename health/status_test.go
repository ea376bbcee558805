package health

import (
	"testing"

	"pgregory.net/rapid"

	"l4proxy/backend"
)

// slowStatus keeps every result since the last change, and looks at all of them each time.
type slowStatus struct {
	health  backend.Health
	results []bool
}

func (s *slowStatus) observe(passed bool, rise, fall int) int {
	s.results = append(s.results, passed)
	to := s.health
	switch {
	case s.health != backend.HealthDown && s.lastAre(false, fall):
		to = backend.HealthDown
	case s.health == backend.HealthUnknown && passed, s.health == backend.HealthDown && s.lastAre(true, rise):
		to = backend.HealthUp
	}
	if to == s.health {
		return 0
	}
	took := len(s.results)
	*s = slowStatus{health: to}
	return took
}

func (s *slowStatus) lastAre(passed bool, n int) bool {
	if len(s.results) < n {
		return false
	}
	for _, p := range s.results[len(s.results)-n:] {
		if p != passed {
			return false
		}
	}
	return true
}

func (s *slowStatus) inDoubt() bool {
	if s.health == backend.HealthUnknown {
		return true
	}
	n := len(s.results)
	return n > 0 && s.results[n-1] != (s.health == backend.HealthUp)
}

func TestStatusIsItsSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(1, 4).Draw(t, "rise"), rapid.IntRange(1, 4).Draw(t, "fall")
		health := backend.Health(rapid.IntRange(0, 2).Draw(t, "health"))
		got, want := Status{Health: health}, slowStatus{health: health}
		for i, passed := range rapid.SliceOfN(rapid.Bool(), 1, 50).Draw(t, "results") {
			took, wantTook := got.Observe(passed, rise, fall), want.observe(passed, rise, fall)
			if took != wantTook || got.Health != want.health || got.InDoubt() != want.inDoubt() {
				t.Fatalf("after result %d: took %d, %v, in doubt %v; want %d, %v, %v",
					i, took, got.Health, got.InDoubt(), wantTook, want.health, want.inDoubt())
			}
		}
	})
}

func TestStatusFromTheBeginning(t *testing.T) {
	for _, test := range []struct {
		name    string
		from    backend.Health
		results string // + passed, - failed
		health  backend.Health
		doubt   bool
	}{
		{"nothing is known", backend.HealthUnknown, "", backend.HealthUnknown, true},
		{"one pass settles it", backend.HealthUnknown, "+", backend.HealthUp, false},
		{"one pass after failures too", backend.HealthUnknown, "--+", backend.HealthUp, false},
		{"failures that are too few", backend.HealthUnknown, "--", backend.HealthUnknown, true},
		{"failures that suffice", backend.HealthUnknown, "---", backend.HealthDown, false},
		{"up with a failure", backend.HealthUp, "-", backend.HealthUp, true},
		{"a pass between", backend.HealthUp, "--+--", backend.HealthUp, true},
		{"a backend that flaps stays up", backend.HealthUp, "-+-+-+-+", backend.HealthUp, false},
		{"and one that flaps stays down", backend.HealthDown, "+-+-+-", backend.HealthDown, false},
		{"one pass is not enough to be up again", backend.HealthDown, "+", backend.HealthDown, true},
		{"two are", backend.HealthDown, "++", backend.HealthUp, false},
	} {
		s := Status{Health: test.from}
		for _, r := range test.results {
			s.Observe(r == '+', 2, 3)
		}
		if s.Health != test.health || s.InDoubt() != test.doubt {
			t.Errorf("%s: %v, in doubt %v, want %v, %v", test.name, s.Health, s.InDoubt(), test.health, test.doubt)
		}
	}
}
