package eventloop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockSignals blocks all signals on the calling thread except those that the thread itself causes.
// A pending signal makes a receive fail with EAGAIN at the mark of urgent data (tcp_recvmsg_locked
// in the kernel's net/ipv4/tcp.c), although there is something to read. No event would follow, and
// the connection would hang. The Go runtime signals a thread many times per second to preempt its
// goroutine. Without the signal, a loop is preempted at its next function call, or when its wait
// ends, at most spinDown later. Other threads receive the signals to the process.
func blockSignals() {
	caused := []unix.Signal{
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, unix.SIGABRT,
		unix.SIGPROF, // from a profiler's timer, which each thread has
	}
	var set unix.Sigset_t
	const wordBits = 8 * uint(unsafe.Sizeof(set.Val[0]))
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	for _, signal := range caused {
		bit := uint(signal - 1)
		set.Val[bit/wordBits] &^= 1 << (bit % wordBits)
	}
	// Cannot fail with this argument (pthread_sigmask(3)).
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
}
