package traffic

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

const (
	// edges is both directions of a socket: registered once, it serves for the whole life of most.
	edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
	// After readEvents a read is worthwhile. After lastEvents the reader continues until a read
	// fails: a FIN or a reset that came before a short read makes no further edge.
	readEvents = unix.EPOLLIN | lastEvents
	lastEvents = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

const (
	// eventsAtATime bounds a batch, and with it how long operations that are due have to wait.
	eventsAtATime = 64
	// patience is how long a loop keeps its P while it waits and nothing comes.
	patience = int64(3 * time.Millisecond)
	// wakeUp replaces the connection in the event of a wake-up.
	wakeUp = -1
)

// poller is an epoll(7) instance, and an eventfd by which other goroutines wake it.
type poller struct {
	epoll, event int
	quiet        bool // nothing came during patience
	events       [eventsAtATime]unix.EpollEvent
}

func newPoller() (*poller, error) {
	p := new(poller)
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	// Edge-triggered, so that no read is needed: each write is an edge.
	if errno := p.add(p.event, unix.EPOLLIN|unix.EPOLLET&0xffffffff, wakeUp); errno != 0 {
		p.close()
		return nil, fmt.Errorf("epoll_ctl: %w", errno)
	}
	return p, nil
}

// add registers fd for as long as it is open.
func (p *poller) add(fd int, events uint32, id int32) unix.Errno {
	return rawsys.EpollAdd(p.epoll, fd, events, id)
}

// modify changes the events of fd.
func (p *poller) modify(fd int, events uint32, id int32) unix.Errno {
	return rawsys.EpollModify(p.epoll, fd, events, id)
}

// wait returns the events that have happened, at the latest at until, by Now. They are valid until
// the next wait. It may return early without events.
func (p *poller) wait(until int64) ([]unix.EpollEvent, error) {
	timeout := int64(-1) // none
	if until != forever {
		timeout = max(until-Now(), 0)
	}
	keep := !p.quiet || timeout >= 0 && timeout <= patience
	if keep && (timeout < 0 || timeout > patience) {
		timeout = patience
	}
	n, errno := rawsys.EpollWait(p.epoll, p.events[:], time.Duration(timeout), true, keep)
	switch errno {
	case 0:
		p.quiet = n == 0 && (p.quiet || timeout == patience)
	case unix.EINTR:
	case unix.ENOSYS:
		return nil, fmt.Errorf("epoll_pwait2: %w: it needs Linux 5.11", errno)
	default:
		return nil, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	return p.events[:n], nil
}

// wake ends a wait, from any goroutine.
func (p *poller) wake() {
	one := [8]byte{1}
	// It fails only if the counter is full, and then the loop has already been woken.
	_, _ = unix.Write(p.event, one[:])
}

func (p *poller) close() {
	unix.Close(p.event)
	unix.Close(p.epoll)
}

// ownThread gives the calling goroutine a thread that ends with it and whose waits are exact: by
// default the kernel makes them up to 50 µs longer (PR_SET_TIMERSLACK in prctl(2)).
func ownThread() error {
	runtime.LockOSThread() // never unlocked: no other goroutine wants a thread with this slack
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_TIMERSLACK): %w", err)
	}
	return nil
}

// roomForLoop raises GOMAXPROCS for a loop that keeps its P: the other goroutines need Ps too.
func roomForLoop() {
	const enough = 3
	if runtime.GOMAXPROCS(0) < enough {
		runtime.GOMAXPROCS(enough)
	}
}
