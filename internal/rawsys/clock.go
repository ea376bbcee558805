package rawsys

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share
// (clock_gettime(2)).
//
// The monotonic part of a time.Time is that clock too, less a number that package time keeps to
// itself. time.Since reads it through the vDSO, without a system call. So the number is found once,
// and added to what time.Since returns.
func Monotonic() int64 { return offset + int64(time.Since(base)) }

var base = time.Now()

// offset is CLOCK_MONOTONIC at base, to within half of the shortest of several system calls: less
// than a microsecond.
var offset = func() (offset int64) {
	shortest := time.Duration(1<<63 - 1)
	for range 10 {
		before := time.Since(base)
		var now unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail with these arguments
		if took := time.Since(base) - before; took < shortest {
			shortest, offset = took, now.Nano()-int64(before+took/2)
		}
	}
	return offset
}()
