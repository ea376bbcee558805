package rawsys

import (
	"math"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EpollCreate is epoll_create1(2).
func EpollCreate() (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

// EpollAdd registers fd for events (EPOLLIN and so on); id comes back in the Fd field of each of
// its events.
func EpollAdd(epoll, fd int, events uint32, id int32) unix.Errno {
	return epollControl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: id})
}

// EpollModify changes the events of fd.
func EpollModify(epoll, fd int, events uint32, id int32) unix.Errno {
	return epollControl(epoll, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events, Fd: id})
}

// EpollDelete ends the registration of fd.
func EpollDelete(epoll, fd int) unix.Errno {
	return epollControl(epoll, unix.EPOLL_CTL_DEL, fd, nil)
}

func epollControl(epoll, operation, fd int, event *unix.EpollEvent) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(operation), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	return errno
}

// HasEpollPwait2 reports whether epoll_pwait2(2) is available: since Linux 5.11, unless a seccomp
// profile hides it.
func HasEpollPwait2() bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, ^uintptr(0), 0, 0, 0, 0, 0)
	return errno == unix.EINVAL || errno == unix.EBADF
}

// timespec is struct __kernel_timespec: 64 bits a field on every machine.
type timespec struct{ sec, nsec int64 }

// EpollWait is epoll_pwait2(2) when precise is set, else epoll_pwait(2) with the timeout rounded up
// to a millisecond. A negative timeout waits forever. It is the only call of this package that may
// wait. With keep, the thread keeps its P while it waits, and the runtime's preemption signal ends
// the wait with EINTR. Without keep, it is an ordinary Go system call.
func EpollWait(epoll int, events []unix.EpollEvent, timeout time.Duration, precise, keep bool) (int, unix.Errno) {
	buffer, size := uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events))
	var n uintptr
	var errno unix.Errno
	if precise {
		ts := timespec{int64(timeout / time.Second), int64(timeout % time.Second)}
		limit := &ts
		if timeout < 0 {
			limit = nil
		}
		if keep || timeout == 0 {
			n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), buffer, size,
				uintptr(unsafe.Pointer(limit)), 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), buffer, size,
				uintptr(unsafe.Pointer(limit)), 0, 0)
		}
	} else {
		ms := uintptr(milliseconds(timeout))
		if keep || timeout == 0 {
			n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), buffer, size, ms, 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), buffer, size, ms, 0, 0)
		}
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// milliseconds rounds up: a timer that is due in half a millisecond must not make the loop spin
// until then.
func milliseconds(timeout time.Duration) int {
	if timeout < 0 {
		return -1
	}
	return int(min((timeout+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
}
