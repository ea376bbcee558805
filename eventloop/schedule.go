package eventloop

import "golang.org/x/sys/unix"

// scheduleInBatches puts the calling thread under SCHED_BATCH (sched(7)): on a busy CPU, a thread
// that wakes does not preempt the one that runs. Without it, each message wakes the loop while its
// sender still has others to send. With it, the loop runs later and handles them in one batch. On
// an idle CPU nothing changes. The nice value stays, and so does a policy that was set with
// chrt(1). If the kernel refuses, the loop is only slower.
func scheduleInBatches() {
	const thisThread = 0
	attr, err := unix.SchedGetAttr(thisThread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Policy = unix.SCHED_BATCH
	_ = unix.SchedSetAttr(thisThread, attr, 0)
}
