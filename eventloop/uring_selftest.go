package eventloop

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// streamsWork reports whether this kernel's streams of receives can be used. The kernel must
// support a bound for them (Linux 6.17), and a stream must complete twice if both bytes and the end
// have come before it looks. Kernels without the change a68ed2df7213 ("io_uring/poll: fix multishot
// recv missing EOF on wakeup race") may receive the bytes, forget the second wake-up, and never
// report the end.
//
// It runs on the loop's thread before any operation, and leaves the ring empty.
func (u *uring) streamsWork() bool {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer rawsys.Close(fds[0])
	defer rawsys.Close(fds[1])
	const mine = forIgnored<<56 | 1
	u.submitStream(int32(fds[0]), mine)
	results, over := u.reap(nil)
	if !over {
		_, _ = rawsys.Send(fds[1], []byte("x"), 0)
		rawsys.Shutdown(fds[1], unix.SHUT_WR)
		results, over = u.reap(results)
	}
	works := over && len(results) == 2 && results[0] == 1 && results[1] == 0
	if !over {
		u.cancel(mine)
	}
	for rounds := 0; !over && rounds < 100; rounds++ {
		results, over = u.reap(results)
	}
	return works
}

// reap submits what is queued and appends the results of what has completed since. over means that
// the stream has ended.
func (u *uring) reap(results []int32) (_ []int32, over bool) {
	if u.enter(0, true) != 0 {
		return results, true
	}
	head, tail := *u.cqHead, atomic.LoadUint32(u.cqTail)
	for ; head != tail; head++ {
		e := &u.cqes[head&u.cqMask]
		if e.userData&cancelBit != 0 {
			continue
		}
		u.recycle(e)
		results, over = append(results, e.res), over || e.flags&cqeMore == 0
	}
	atomic.StoreUint32(u.cqHead, head)
	return results, over
}
