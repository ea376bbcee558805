package eventloop

import "golang.org/x/sys/unix"

// scheduleInBatches puts the calling thread under SCHED_BATCH (sched(7)): on a busy CPU, being woken up does not
// preempt who runs there. Without it a loop is switched in for each message that arrives while its sender still has
// others to send; with it they are waiting when it comes, and are handled in one go. On a CPU that is free nothing
// changes. The nice value stays, and so does a policy that somebody has chosen (chrt(1)). A kernel that refuses leaves
// a loop that is only slower.
func scheduleInBatches() {
	const thisThread = 0
	attr, err := unix.SchedGetAttr(thisThread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Policy = unix.SCHED_BATCH
	_ = unix.SchedSetAttr(thisThread, attr, 0)
}
