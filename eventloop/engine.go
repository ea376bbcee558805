package eventloop

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// The engines, by the names they have in the configuration.
const (
	IOUring = "io_uring"
	Epoll   = "epoll"
	Auto    = "auto" // IOUring where the kernel allows it, else Epoll
)

// engine carries out operations. The methods are those of [Loop], which documents them.
type engine interface {
	// enable is called once, on the thread that will run the loop, before any other method. It
	// fails if the engine cannot work on this system.
	enable() error
	socketFlags() int
	accept(s Slot, room int)
	acceptsAhead() int
	connect(Slot, *rawsys.Sockaddr)
	recv(Slot)
	send(Slot, []byte)
	fill(Slot)
	ready(Slot)
	drain(Slot, *Pipe)
	watch(s Slot, fin bool)
	recheck(Slot)
	cancelRead(Slot)
	cancelWrite(Slot)
	// attached is called when a socket was put into the table, and detached when it is taken out
	// (with flagClosing, to be closed).
	attached(Slot)
	detached(Slot)
	// spliced says whether OpFill or OpDrain will use the socket.
	spliced(s Slot, on bool)
	release(Buffer)
	bytes(Buffer) []byte
	// wait submits what is to be submitted, waits up to timeout (negative: forever; 0: not at all)
	// for something to complete, reads the loop's clock, and passes what has completed to the
	// handler. With raw, the wait keeps its processor (see rawsys). It returns how many completions
	// it passed on, and whether these were all that were pending when it was called.
	wait(timeout time.Duration, raw bool) (n int, all bool, err error)
	// wakeUp makes a wait return. It is the only method that another goroutine may call.
	wakeUp()
	// quiet is called when nothing has happened for a while. The engine can give memory back.
	quiet()
	close()
}

// UnsupportedError is returned if this machine lacks what an engine needs.
type UnsupportedError struct {
	Engine string // name of the engine
	Needs  string // what it needs, such as "Linux 6.1"
	Err    error  // what the kernel said
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("engine %s is not available: it needs %s (%v)", e.Engine, e.Needs, e.Err)
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// Probe returns the engine that a configured name stands for on this machine. For Auto, it is
// IOUring, or Epoll and the reason why IOUring is not available. If the named engine is not
// available, Probe returns an error.
func Probe(name string) (engine string, why error, err error) {
	switch name {
	case Epoll:
		return Epoll, nil, nil
	case IOUring, Auto, "":
		why = probeIOUring()
		if why == nil {
			return IOUring, nil, nil
		}
		if name == IOUring {
			return "", nil, why
		}
		return Epoll, why, nil
	}
	return "", nil, fmt.Errorf("unknown engine %q: write %q, %q or %q", name, Auto, IOUring, Epoll)
}

// idle is a handler for a loop that never runs.
type idle struct{}

func (idle) Complete(*Completion) {}
func (idle) Expire(uint32)        {}
func (idle) Message(any)          {}
func (idle) BatchEnd()            {}

// probeIOUring makes a loop, which is the only reliable test.
func probeIOUring() error {
	l, err := New(IOUring, nil, idle{})
	if err == nil {
		l.Discard()
	}
	return err
}

// reasonIOUring explains the errno of a system call of io_uring.
func reasonIOUring(errno unix.Errno) error {
	reason := error(errno)
	switch errno {
	case unix.ENOSYS:
		reason = errors.New("the kernel does not support it, or a seccomp profile such as Docker's default hides it")
	case unix.EPERM, unix.EACCES:
		reason = errors.New("forbidden by kernel.io_uring_disabled or a security profile")
	case unix.EINVAL:
		reason = errors.New("the kernel is older")
	case unix.ENOMEM:
		reason = errors.New("not enough memory: raise RLIMIT_MEMLOCK (locked memory) or RLIMIT_AS (address space)")
	}
	return &UnsupportedError{Engine: IOUring, Needs: "Linux 6.1 with io_uring allowed", Err: reason}
}

// allowed returns an error if a security profile forbids one of these system calls, or does not
// know it. It tries each with an invalid descriptor.
func allowed(engine string, calls ...rawsys.Call) error {
	for _, call := range calls {
		if errno := call.Try(); errno != unix.EBADF {
			return &UnsupportedError{
				Engine: engine, Needs: "the system call " + call.Name,
				Err: fmt.Errorf("%w: a security profile hides or forbids it", errno),
			}
		}
	}
	return nil
}
