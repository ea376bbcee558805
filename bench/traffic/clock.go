package traffic

import (
	"math"
	"time"

	"l4proxy/internal/rawsys"
)

// forever is later than any time of the clock.
const forever = math.MaxInt64

// Now is CLOCK_MONOTONIC in nanoseconds, which is the same in all processes of a machine
// (clock_gettime(2)).
func Now() int64 { return rawsys.Monotonic() }

// schedule fixes in advance when operations are due.
type schedule struct {
	start    int64   // by the clock
	interval float64 // nanoseconds between two operations
}

func newSchedule(spec *ClientSpec, start int64) schedule {
	return schedule{start, float64(time.Second) / spec.Rate}
}

// at returns when operation k is due.
func (s schedule) at(k uint64) int64 { return s.start + int64(float64(k)*s.interval) }
