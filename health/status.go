package health

import "l4proxy/backend"

// Status is derived from the results of one backend's checks: a change needs several results in a
// row. It is a value and needs no clock. The zero value is unknown.
type Status struct {
	// Health is the verdict so far. A Status may start with any.
	Health backend.Health

	against int // results in a row that speak against Health
	results int // results since Health changed
}

// Observe records one result. It returns 0 if Health stays, else the number of results since the
// previous change, including this one.
//
// If Health is unknown, one pass makes it up: no target counts as up before it was checked, and one
// check is enough for that. Otherwise it takes rise passes in a row for up, and fall failures in a
// row for down.
func (s *Status) Observe(passed bool, rise, fall int) int {
	s.results++
	target, needed := backend.HealthDown, fall
	if passed {
		target, needed = backend.HealthUp, rise
		if s.Health == backend.HealthUnknown {
			needed = 1
		}
	}
	if target == s.Health {
		s.against = 0
		return 0
	}
	s.against++
	if s.against < needed {
		return 0
	}
	took := s.results
	*s = Status{Health: target}
	return took
}

// InDoubt reports whether the next result may matter more than usual: nothing is known, or the last
// result spoke against Health.
func (s *Status) InDoubt() bool {
	return s.Health == backend.HealthUnknown || s.against > 0
}
