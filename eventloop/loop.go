package eventloop

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/mailbox"
	"l4proxy/internal/rawsys"
)

// spinDown is how long an idle loop keeps its processor (P). Until then, the end of a wait costs no
// futex. After that, it waits in an ordinary Go system call, and an idle loop costs nothing.
const spinDown = 3 * time.Millisecond

// quietAfter is how long a loop must be idle before it gives memory back.
const quietAfter = time.Second

// A Loop runs sockets for one [Handler]. Post may be called from any goroutine. All other methods
// may be called before Run, and then only by the handler, on the loop's own thread.
type Loop struct {
	handler Handler
	engine  engine
	table   *table
	timers  wheel
	mailbox mailbox.Box[any]
	pipes   pipePool
	expire  func(id uint32) // handler.Expire, bound once
	message func(any)       // handler.Message, bound once

	clock      func() int64
	now        int64
	looks      looks
	lastActive int64
	trimmed    bool // quiet was called since the last activity
	quit       bool

	thread int           // number of the loop's thread (gettid(2))
	begin  chan int      // what Run passes to the loop's thread; closed by Discard
	over   chan struct{} // closed when the thread has released everything
	err    error         // what Run returns, after over

	// ending guards the engine's wake-up descriptor. Once ended is set, the descriptor is closed,
	// and its number may belong to another file.
	ending sync.Mutex
	ended  bool
}

// New makes a loop on the named engine: [IOUring] or [Epoll] (see [Probe]). The loop has its own
// thread, and the engine has proved on it that it works. Call Run or Discard afterwards. The
// handler is called only after Run.
//
// clock is read after each wait, in nanoseconds; nil means [rawsys.Monotonic].
func New(engineName string, clock func() int64, handler Handler) (*Loop, error) {
	if clock == nil {
		clock = rawsys.Monotonic
	}
	l := &Loop{handler: handler, clock: clock, begin: make(chan int), over: make(chan struct{})}
	l.expire, l.message = handler.Expire, handler.Message
	l.tick()
	l.timers.tick = l.now >> tickShift
	ready := make(chan error, 1)
	go l.live(engineName, ready)
	if err := <-ready; err != nil {
		<-l.over
		return nil, err
	}
	return l, nil
}

// live runs on the loop's thread. io_uring ties a ring to the thread that enables it, so all its
// calls are made on this thread.
func (l *Loop) live(engineName string, ready chan<- error) {
	defer close(l.over)
	runtime.LockOSThread() // never unlocked: with its affinity changed, the thread must end with the goroutine
	l.thread = unix.Gettid()
	var err error
	switch engineName {
	case IOUring:
		l.engine, l.table, err = newIOUring(l)
	case Epoll:
		l.engine, l.table, err = newEpoll(l)
	default:
		err = fmt.Errorf("unknown engine %q", engineName)
	}
	if err == nil {
		if err = l.engine.enable(); err != nil {
			l.engine.close()
		}
	}
	ready <- err
	if err != nil {
		return
	}
	cpu, run := <-l.begin
	if !run {
		l.engine.close()
		return
	}
	l.err = l.run(cpu)
}

// Run runs the loop until Quit; cpu >= 0 binds its thread to one CPU. If the handler panics, Run
// returns a [PanicError]. Attached sockets stay open: they belong to the handler.
func (l *Loop) Run(cpu int) error {
	l.begin <- cpu
	<-l.over
	return l.err
}

func (l *Loop) run(cpu int) (err error) {
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		// This fails if another CPU set is enforced. The kernel then chooses the loop's CPU.
		_ = unix.SchedSetaffinity(0, &set)
	}
	scheduleInBatches()
	blockSignals()
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
		l.ending.Lock()
		l.ended = true
		l.pipes.closeAll()
		l.engine.close()
		l.ending.Unlock()
	}()
	l.tick()
	l.lastActive, l.looks.upTo = l.now, l.now
	for {
		l.takeMessages()
		l.timers.expire(l.looks.upTo, l.expire)
		l.handler.BatchEnd()
		if l.quit {
			break
		}
		n, err := l.wait()
		if err != nil {
			return err
		}
		if n > 0 {
			l.lastActive, l.trimmed = l.now, false
		}
	}
	return nil
}

// takeMessages passes on what was posted. An engine calls it within a long batch too.
func (l *Loop) takeMessages() { l.mailbox.TakeAll(l.message) }

// wait waits as suits how busy the loop has been.
func (l *Loop) wait() (int, error) {
	timeout := time.Duration(-1)
	if due, ok := l.timers.next(); ok {
		// If a timer is due, look for events once more without waiting. Then it expires.
		timeout = max(0, time.Duration(max(due, l.looks.caughtUp)-l.now))
	}
	raw := false
	if idle := time.Duration(l.now - l.lastActive); idle < spinDown {
		raw = true
		if left := spinDown - idle; timeout < 0 || left < timeout {
			timeout = left
		}
	} else if !l.trimmed {
		if idle >= quietAfter {
			l.trimmed = true
			l.pipes.trim(pipesKept)
			l.engine.quiet()
		} else if left := quietAfter - idle; timeout < 0 || left < timeout {
			timeout = left
		}
	}
	before := l.now
	n, all, err := l.engine.wait(timeout, raw)
	l.looks.done(before, l.now, timeout, all)
	return n, err
}

// tick reads the clock, after each wait.
func (l *Loop) tick() { l.now = l.clock() }

// PanicError is a panic of a handler, caught at the loop's edge.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in an event loop: %v", e.Value) }

// Now is the time of the last wait, in nanoseconds of CLOCK_MONOTONIC.
func (l *Loop) Now() int64 { return l.now }

// Looked is the time, on the loop's clock, up to which the loop has looked for events and up to
// which timers expire. If a timer has expired, the handler must compare with Looked, not with
// [Loop.Now]: there may have been a pause between the two, and more events may be waiting.
func (l *Loop) Looked() int64 { return l.looks.upTo }

// Post passes a value to the handler. Any goroutine may call it. It returns false if the loop has
// ended. A value posted while the loop ends may be lost even if Post returns true; see Undelivered.
func (l *Loop) Post(value any) bool {
	l.ending.Lock()
	defer l.ending.Unlock()
	if !l.ended && l.mailbox.Post(value) {
		l.engine.wakeUp()
	}
	return !l.ended
}

// Discard frees a loop that was never run. After Run it has no effect.
func (l *Loop) Discard() {
	l.ending.Lock()
	defer l.ending.Unlock()
	if !l.ended {
		l.ended = true
		close(l.begin)
		<-l.over
	}
}

// Undelivered passes the messages that were posted too late for the handler to read. Call it after
// Run has returned.
func (l *Loop) Undelivered(read func(any)) { l.mailbox.TakeAll(read) }

// Quit makes Run return after the current batch.
func (l *Loop) Quit() { l.quit = true }

// SetTimer calls Handler.Expire with id at the given time of the loop's clock, up to 17 ms late
// (later after a pause), and never before the events that had come by that time (see Looked). It
// replaces the timer of the same id. Ids are small numbers: the table grows to the largest.
func (l *Loop) SetTimer(id uint32, at int64) { l.timers.set(id, at) }

// StopTimer stops the timer of id, if one is set.
func (l *Loop) StopTimer(id uint32) { l.timers.stop(id) }
