package eventloop

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// scheduling is the policy and the nice value of the calling thread.
func scheduling(t *testing.T) (policy uint32, nice int32) {
	t.Helper()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return attr.Policy, attr.Nice
}

// onThread runs f on a thread that ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

func TestSchedulingKeepsNice(t *testing.T) {
	onThread(func() {
		const nice = 5
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice); err != nil {
			t.Error(err)
			return
		}
		scheduleInBatches()
		if policy, got := scheduling(t); policy != unix.SCHED_BATCH || got != nice {
			t.Errorf("policy %d, nice %d; want %d and %d", policy, got, unix.SCHED_BATCH, nice)
		}
	})
}

func TestSchedulingKeepsAChosenPolicy(t *testing.T) {
	onThread(func() {
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0); err != nil {
			t.Error(err)
			return
		}
		scheduleInBatches()
		if policy, _ := scheduling(t); policy != unix.SCHED_IDLE {
			t.Errorf("policy %d, want %d", policy, unix.SCHED_IDLE)
		}
	})
}

// The loop's own thread is scheduled in batches, and only that.
func TestLoopIsScheduledInBatches(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, _ := scheduling(t)
	for _, engine := range []string{IOUring, Epoll} {
		t.Run(engine, func(t *testing.T) {
			needEngine(t, engine)
			d := start(t, engine)
			var policy uint32
			d.do(func() { policy, _ = scheduling(t) })
			if before == unix.SCHED_NORMAL && policy != unix.SCHED_BATCH {
				t.Errorf("policy %d, want %d", policy, unix.SCHED_BATCH)
			}
		})
	}
	if after, _ := scheduling(t); after != before {
		t.Errorf("the caller's thread has policy %d, had %d", after, before)
	}
}
