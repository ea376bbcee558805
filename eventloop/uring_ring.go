package eventloop

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	submissions = 1024
	// completionQueue is how many completions can wait to be read. The kernel keeps those that do
	// not fit (IORING_FEAT_NODROP), so this does not bound the number of connections.
	completionQueue = 4096
)

// ring is the pair of queues shared with the kernel. Only the loop's thread touches it.
type ring struct {
	fd     int
	shared []byte // the mapping that holds both queues' heads and tails, and the completions
	sqeMap []byte // the mapping that holds the submissions

	sqHead, sqTail *uint32
	sqMask         uint32
	sqes           []submission
	tail           uint32 // of the submissions, not yet published to the kernel
	// waiting holds submissions that did not fit into the queue, until the kernel makes room.
	waiting []submission
	refused int // calls in a row that the kernel has refused for now

	cqHead, cqTail *uint32
	cqMask         uint32
	cqes           []cqe

	// Arguments of a wait. They are fields because they must not move, and not be allocated per
	// wait.
	timeout unix.Timespec
	arg     geteventsArg
}

// setup makes a ring that is disabled until enable, on the thread that will use it.
func (r *ring) setup() unix.Errno {
	p := setupParams{
		flags:     setupSingleIssuer | setupDeferTaskrun | setupCQSize | setupRDisabled,
		cqEntries: completionQueue,
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, submissions, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return errno
	}
	r.fd = int(fd)
	size := max(int(p.sq.array+p.sqEntries*4), int(p.cq.cqes)+int(p.cqEntries)*int(unsafe.Sizeof(cqe{})))
	const protection, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED
	var err error
	if r.shared, err = unix.Mmap(r.fd, offSQRing, size, protection, flags); err != nil {
		r.unmap()
		return toErrno(err)
	}
	if r.sqeMap, err = unix.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(submission{})), protection, flags); err != nil {
		r.unmap()
		return toErrno(err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.shared[offset])) }
	r.sqHead, r.sqTail, r.sqMask = at(p.sq.head), at(p.sq.tail), *at(p.sq.ringMask)
	r.cqHead, r.cqTail, r.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.ringMask)
	r.sqes = unsafe.Slice((*submission)(unsafe.Pointer(&r.sqeMap[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&r.shared[p.cq.cqes])), p.cqEntries)
	// Submission i is always at position i: the array of indirections is set once.
	array := unsafe.Slice(at(p.sq.array), p.sqEntries)
	for i := range array {
		array[i] = uint32(i)
	}
	return 0
}

func toErrno(err error) unix.Errno {
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EINVAL
}

func (r *ring) register(op uintptr, arg unsafe.Pointer, n uintptr) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), op, uintptr(arg), n, 0, 0)
	return errno
}

// submission returns the next free submission, zeroed. It submits what is queued when the queue is
// full.
func (r *ring) submission() *submission {
	if len(r.waiting) > 0 || r.full() && !r.flush() {
		r.waiting = append(r.waiting, submission{})
		return &r.waiting[len(r.waiting)-1]
	}
	s := &r.sqes[r.tail&r.sqMask]
	*s = submission{}
	r.tail++
	return s
}

func (r *ring) full() bool { return r.tail-atomic.LoadUint32(r.sqHead) >= uint32(len(r.sqes)) }

// flush submits without waiting, and reports whether there is room now. If not, the kernel is short
// of memory, or more completions are pending than the queue can hold. Both can be resolved only
// after the current batch, and a permanent error is reported there too.
func (r *ring) flush() bool {
	const attempts = 4
	atomic.StoreUint32(r.sqTail, r.tail)
	for range attempts {
		_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(len(r.sqes)), 0, 0, 0, 0)
		if !r.full() {
			return true
		}
		if errno != 0 && errno != unix.EINTR { // running the deferred work may free something
			_, _, _ = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 0, 0, enterGetEvents, 0, 0)
		}
	}
	return false
}

// queueWaiting queues as many waiting submissions as fit.
func (r *ring) queueWaiting() {
	moved := 0
	for ; moved < len(r.waiting) && !r.full(); moved++ {
		r.sqes[r.tail&r.sqMask] = r.waiting[moved]
		r.tail++
	}
	if r.waiting = r.waiting[moved:]; len(r.waiting) == 0 {
		r.waiting = nil
	}
}

// enter submits what is queued and waits for one completion (timeout negative: forever; 0: not at
// all).
func (r *ring) enter(timeout time.Duration, raw bool) unix.Errno {
	if len(r.waiting) > 0 {
		r.queueWaiting()
		if len(r.waiting) > 0 {
			timeout = 0
		}
	}
	atomic.StoreUint32(r.sqTail, r.tail)
	submit := uintptr(r.tail - atomic.LoadUint32(r.sqHead))
	var want, arg, size uintptr
	flags := uintptr(enterGetEvents)
	if timeout != 0 && *r.cqHead == atomic.LoadUint32(r.cqTail) {
		want = 1
		if timeout > 0 {
			r.timeout = unix.NsecToTimespec(int64(timeout))
			r.arg = geteventsArg{ts: uint64(uintptr(unsafe.Pointer(&r.timeout)))}
			flags |= enterExtArg
			arg, size = uintptr(unsafe.Pointer(&r.arg)), unsafe.Sizeof(r.arg)
		}
	}
	var errno unix.Errno
	if raw || want == 0 {
		_, _, errno = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submit, want, flags, arg, size)
	} else {
		_, _, errno = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submit, want, flags, arg, size)
	}
	return r.entered(errno)
}

// entered handles the result of io_uring_enter(2), and returns permanent errors.
func (r *ring) entered(errno unix.Errno) unix.Errno {
	switch errno {
	case 0, unix.ETIME, unix.EINTR: // the wait timed out; a signal, most often the runtime's own
		r.refused = 0
		return 0
	case unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
		// The kernel is short of memory, or its completions must be taken first. What was not
		// submitted stays queued.
		r.refused++
		if *r.cqHead == atomic.LoadUint32(r.cqTail) {
			time.Sleep(time.Millisecond << min(r.refused, 6))
		}
		return 0
	}
	return errno
}

func (r *ring) unmap() {
	if r.sqeMap != nil {
		_ = unix.Munmap(r.sqeMap)
	}
	if r.shared != nil {
		_ = unix.Munmap(r.shared)
	}
	_ = unix.Close(r.fd)
}
