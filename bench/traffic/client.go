package traffic

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// drainTime is how long operations that were due before the end may still take, in addition
	// to the timeout of a Visit.
	drainTime = time.Second
	// openingAtOnce bounds how many connections are opened at the same time before the load
	// begins.
	openingAtOnce = 256

	// A run ends after more than mostFailures, or when more than one operation in failureShare
	// fails. The share is checked from enoughFailures on.
	mostFailures   = 1000
	failureShare   = 10
	enoughFailures = 10
)

// clientRun is one RunClient: its loop runs in a goroutine of its own.
type clientRun struct {
	spec      ClientSpec
	endpoints endpoints
	drain     time.Duration
	loop      *clientLoop
	opened    chan struct{}           // the loop sends when it has opened its connections
	fail      context.CancelCauseFunc // ends the run with an error

	// The load begins at begin. The measured part is between from and until. They are set before
	// begun.
	begin, from, until int64
	begun              atomic.Bool
	stopped            atomic.Bool // the loop ends at once
}

// RunClient generates load and measures. It returns when the run is over, or with the context's
// cause if the context ends first. An Idle run ends with its context, without an error. If there is
// an error, the result is what was found until then.
//
// It raises GOMAXPROCS if its loop needs more.
func RunClient(ctx context.Context, spec ClientSpec) (ClientResult, error) {
	r, err := newClientRun(spec)
	if err != nil {
		return ClientResult{}, err
	}
	return r.run(ctx)
}

func newClientRun(spec ClientSpec) (*clientRun, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	endpoints, err := newEndpoints(&spec)
	if err != nil {
		return nil, err
	}
	r := &clientRun{spec: spec, endpoints: endpoints, drain: drainTime + spec.Timeout, opened: make(chan struct{}, 1)}
	r.loop, err = newClientLoop(r)
	return r, err
}

func (r *clientRun) run(ctx context.Context) (ClientResult, error) {
	defer r.loop.close()
	roomForLoop()
	caller := ctx
	ctx, r.fail = context.WithCancelCause(ctx)
	defer r.fail(nil)

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.loop.serve(); err != nil {
			r.fail(err)
		}
	}()

	measured := r.conduct(ctx, ended)
	r.stop(ctx, ended)

	result := r.loop.record.result()
	result.Seconds, result.CPUSeconds = measured.Seconds(), measured.cpu.Seconds()
	result.Began = r.from
	err := context.Cause(ctx)
	if r.spec.Work == Idle && r.begun.Load() && caller.Err() != nil && err == context.Cause(caller) {
		err = nil // that is how it ends
	}
	if err == nil && result.Failed > 0 && r.tooMany(result.Failed) {
		err = r.manyFailed(result.Failed, "")
	}
	return result, err
}

// measured is the length of the measured part, and the CPU time that the process used in it.
type measured struct {
	time.Duration
	cpu time.Duration
}

// conduct starts the load when the loop has opened its connections, and returns when the measured
// part is over.
func (r *clientRun) conduct(ctx context.Context, ended <-chan struct{}) measured {
	select {
	case <-r.opened:
	case <-ctx.Done(): // also when the loop has failed
		return measured{}
	}
	if r.spec.Opened != nil {
		r.spec.Opened()
	}
	r.begin = Now()
	r.from = r.begin + int64(r.spec.WarmUp)
	r.until = forever
	if r.spec.Duration > 0 {
		r.until = r.from + int64(r.spec.Duration)
	}
	r.begun.Store(true)
	r.loop.poller.wake()

	sleepUntil(ctx, ended, r.from)
	if ctx.Err() != nil {
		return measured{}
	}
	if r.spec.Measuring != nil {
		r.spec.Measuring()
	}
	cpu := cpuTime()
	sleepUntil(ctx, ended, r.until)
	return measured{time.Duration(max(min(Now(), r.until)-r.from, 0)), cpuTime() - cpu}
}

// stop waits until the loop has ended. If ctx ends, it makes the loop end at once.
func (r *clientRun) stop(ctx context.Context, ended <-chan struct{}) {
	select {
	case <-ended:
	case <-ctx.Done():
		r.stopped.Store(true)
		r.loop.poller.wake()
		<-ended
	}
}

// sleepUntil waits until a time, but no longer than the loop or ctx lasts.
func sleepUntil(ctx context.Context, ended <-chan struct{}, until int64) {
	var due <-chan time.Time
	if until != forever {
		timer := time.NewTimer(time.Duration(until - Now()))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-ended:
	case <-ctx.Done():
	}
}

// cpuTime is user and system time of this process.
func cpuTime() time.Duration {
	var usage unix.Rusage
	// It cannot fail with these arguments.
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// failed is called by the loop after a failure. It ends the run if there are too many.
func (r *clientRun) failed(sentence string) {
	if n := r.loop.record.failed; n >= enoughFailures && r.tooMany(n) {
		r.abandon(r.manyFailed(n, sentence))
	}
}

// abandon ends the run because of an error.
func (r *clientRun) abandon(err error) {
	r.stopped.Store(true)
	r.fail(err)
}

// tooMany compares n failures with the number of operations. Failures of visits and flows are
// results, so they never end a run.
func (r *clientRun) tooMany(n uint64) bool {
	if r.spec.Work == Visit || r.spec.Work == Flow {
		return false
	}
	return n > mostFailures || n*failureShare > n+r.loop.succeeded
}

func (r *clientRun) manyFailed(n uint64, last string) error {
	if last != "" {
		last = ", the last one: " + last
	}
	if n > mostFailures {
		return fmt.Errorf("more than %d failures%s", mostFailures, last)
	}
	return fmt.Errorf("%d of %d failed%s", n, n+r.loop.succeeded, last)
}

// limit returns how many operations or bytes the run has at most.
func (s *ClientSpec) limit() uint64 {
	if s.Limit == 0 {
		return math.MaxUint64
	}
	return s.Limit
}
