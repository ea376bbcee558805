package traffic

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// forever is later than any time of the clock.
const forever = math.MaxInt64

var clockStart = time.Now()

// clock is CLOCK_MONOTONIC in nanoseconds, from a start of its own; all loops of a process share it.
func clock() int64 { return int64(time.Since(clockStart)) }

// Now is CLOCK_MONOTONIC in nanoseconds, by which all processes of a machine can compare times (clock_gettime(2)).
func Now() int64 {
	var now unix.Timespec
	// It cannot fail with these arguments.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// schedule lays down when operations are meant to begin, before the first of them does.
type schedule struct {
	start    int64   // by the clock
	interval float64 // nanoseconds between two operations of all loops
}

func newSchedule(spec *ClientSpec, start int64) schedule {
	return schedule{start, float64(time.Second) / spec.Rate}
}

// at returns when operation k is meant to begin.
func (s schedule) at(k uint64) int64 { return s.start + int64(float64(k)*s.interval) }
