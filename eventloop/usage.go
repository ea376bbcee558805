package eventloop

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel knows best how busy a loop is: it counts the CPU time of the loop's thread. The loop
// itself would have to read the clock once more per wait, and with io_uring, it could not know how
// much of a wait was work, because the same system call sends and receives. These methods cost the
// loop nothing.

// CPUTime returns the CPU time that the loop's thread has used, in its own code and in the kernel;
// ok is false once the loop has ended. Any goroutine may call it.
func (l *Loop) CPUTime() (busy time.Duration, ok bool) {
	l.ending.Lock() // until then, the thread's number belongs to no other
	defer l.ending.Unlock()
	if l.ended {
		return 0, false
	}
	var used unix.Timespec
	if err := unix.ClockGettime(threadClock(l.thread), &used); err != nil {
		return 0, false
	}
	return time.Duration(used.Nano()), true
}

// threadClock is the clock that counts the CPU time of a thread of this process. Every system call
// with a clock accepts it (clock_getres(2), pthread_getcpuclockid(3)).
func threadClock(thread int) int32 {
	const perThread, cpuTime = 4, 2
	return int32(^thread)<<3 | perThread | cpuTime
}

// RunDelay returns how long the loop's thread was ready to run and waited for a CPU; ok is false
// once the loop has ended, or if the kernel does not count that (CONFIG_SCHED_INFO). Any goroutine
// may call it.
func (l *Loop) RunDelay() (delay time.Duration, ok bool) {
	l.ending.Lock()
	defer l.ending.Unlock()
	if l.ended {
		return 0, false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", l.thread))
	if err != nil {
		return 0, false
	}
	var busy, waited int64
	if _, err := fmt.Sscan(string(text), &busy, &waited); err != nil {
		return 0, false
	}
	return time.Duration(waited), true
}
