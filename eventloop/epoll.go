package eventloop

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

const (
	// socketEvents: both directions, edge-triggered, so that one epoll_ctl(2) serves a socket for
	// its whole life. EPOLLRDHUP and EPOLLPRI are for [flagHangup].
	socketEvents = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
	// listenerEvents: level-triggered, so that clients that one batch of accepts leaves are
	// reported again. With EPOLLEXCLUSIVE a connection wakes one of several loops that listen on
	// the same socket.
	listenerEvents = unix.EPOLLIN | unix.EPOLLEXCLUSIVE

	readEvents  = unix.EPOLLIN | unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	writeEvents = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	finalEvents = unix.EPOLLPRI | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// Values in an event that are not slots.
const (
	idWakeUp = -1
	idGone   = -2 // the socket was detached after the event had been fetched
)

// eventsAtATime bounds a batch, and with it how long timers wait.
const eventsAtATime = 256

// epoll is the engine on epoll(7). It tries an operation at once when the socket's flags say that
// it may succeed, and otherwise when an edge has set them. A flag is cleared by EAGAIN, and by a
// short receive unless flagHangup is set: according to epoll(7), a short read means that nothing is
// left, but bytes after an urgent mark, and a FIN that had come before, cause no further edge.
//
// Receives and sends use MSG_DONTWAIT and so work on sockets in either mode; O_NONBLOCK is set only
// where accept and splice(2) need it. A socket to be connected is created with it
// ([Loop.SocketFlags]).
type epoll struct {
	common
	fd      int
	event   int // eventfd that wakes the loop
	precise bool
	buffers epollBuffers

	events      [eventsAtATime]unix.EpollEvent
	next, count int // of events: the one being handled, and the end of the batch
}

func newEpoll(l *Loop) (engine, *table, error) {
	e := &epoll{common: common{loop: l}, precise: rawsys.HasEpollPwait2()}
	var err error
	if e.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if e.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		rawsys.Close(e.fd)
		return nil, nil, fmt.Errorf("eventfd: %w", err)
	}
	// Edge-triggered, so that it need not be read: each write is an edge, and the counter never
	// overflows.
	if errno := rawsys.EpollAdd(e.fd, e.event, unix.EPOLLIN|unix.EPOLLET&0xffffffff, idWakeUp); errno != 0 {
		e.close()
		return nil, nil, fmt.Errorf("epoll_ctl: %w", errno)
	}
	return e, &e.table, nil
}

func (e *epoll) socketFlags() int { return unix.SOCK_NONBLOCK }

// enable proves that the loop can wait: it polls once.
func (e *epoll) enable() error {
	const now = 0
	_, errno := rawsys.EpollWait(e.fd, e.events[:], now, e.precise, true)
	if errno != 0 && errno != unix.EINTR {
		return fmt.Errorf("epoll_wait: %w", errno)
	}
	return allowed(Epoll, rawsys.Accept4, rawsys.Connecting, rawsys.Receiving, rawsys.Sending, rawsys.ShuttingDown,
		rawsys.SettingOptions, rawsys.ReadingOptions)
}

func (e *epoll) wakeUp() {
	one := [8]byte{1}
	_, _ = unix.Write(e.event, one[:])
}

func (e *epoll) close() {
	rawsys.Close(e.event)
	rawsys.Close(e.fd)
}

// attached does not register the socket yet. A client that is turned away at once needs no
// registration, and a socket that is not connected would only report EPOLLHUP.
func (e *epoll) attached(s Slot) { e.table.at(s).flags |= flagWritable }

func (e *epoll) detached(s Slot) {
	so := e.table.at(s)
	if so.flags&flagWatched == 0 {
		return
	}
	if so.flags&flagClosing == 0 { // close(2) ends the registration by itself
		rawsys.EpollDelete(e.fd, int(so.fd))
	}
	so.flags &^= flagWatched
	for i := e.next; i < e.count; i++ {
		if e.events[i].Fd == int32(s) {
			e.events[i].Fd = idGone
			return
		}
	}
}

// register registers a socket whose operation has to wait, unless it is registered. The kernel then
// reports what the socket is already ready for, so no event is missed.
func (e *epoll) register(s Slot, so *socket) unix.Errno {
	if so.flags&flagWatched != 0 {
		return 0
	}
	errno := rawsys.EpollAdd(e.fd, int(so.fd), socketEvents, int32(s))
	if errno == 0 {
		so.flags |= flagWatched
		if rawsys.IsUnix(int(so.fd)) { // a receive stops after bytes that came with descriptors (unix(7), SCM_RIGHTS)
			so.flags |= flagHangup
		}
	}
	return errno
}

// setNonblock prepares for calls that have no MSG_DONTWAIT.
func (e *epoll) setNonblock(so *socket) unix.Errno {
	if so.flags&flagNonblock != 0 {
		return 0
	}
	errno := rawsys.SetNonblock(int(so.fd), true)
	if errno == 0 {
		so.flags |= flagNonblock
	}
	return errno
}

func (e *epoll) spliced(s Slot, on bool) {
	so := e.table.at(s)
	if on {
		so.spliceUsers++
		if e.setNonblock(so) != 0 { // splice(2) would wait
			e.loop.pipes.unusable = true
		}
	} else {
		so.spliceUsers--
	}
}

func (e *epoll) bytes(b Buffer) []byte { return e.buffers.bytes(b) }

func (e *epoll) quiet() { e.buffers.trim() }

func (e *epoll) wait(timeout time.Duration, raw bool) (n int, all bool, err error) {
	if e.anyReady() {
		timeout = 0
	}
	count, errno := rawsys.EpollWait(e.fd, e.events[:], timeout, e.precise, raw)
	if errno != 0 && errno != unix.EINTR {
		return 0, false, fmt.Errorf("epoll_wait: %w", errno)
	}
	e.loop.tick()
	// e.next points at the event that is being handled, so that detached reaches it too.
	for e.next, e.count = 0, count; e.next < e.count; e.next++ {
		// Deliver at once: a finished send frees its buffer for the next event, so the loop touches
		// few buffers.
		n += e.dispatch(&e.events[e.next]) + e.deliver()
		// The events of a batch may move 100 MB. A message must not wait for all of them.
		e.loop.takeMessages()
	}
	e.count = 0
	n += e.deliver()
	return n, count < len(e.events) && !e.anyReady(), nil
}

// dispatch continues the operations that were waiting for an event, and returns the number of
// completions.
func (e *epoll) dispatch(event *unix.EpollEvent) int {
	if event.Fd < 0 {
		return 0
	}
	s := Slot(event.Fd)
	so := e.table.at(s)
	if so.in.op == OpAccept {
		return e.acceptAll(s, so)
	}
	if event.Events&readEvents != 0 {
		so.flags |= flagReadable
	}
	if event.Events&unix.EPOLLRDHUP != 0 {
		so.flags |= flagPeerEnded
	}
	if event.Events&finalEvents != 0 {
		so.flags |= flagHangup
	}
	if event.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		so.flags |= flagBroken
	}
	if event.Events&writeEvents != 0 {
		so.flags |= flagWritable
	}
	n := 0
	if so.flags&flagWritable != 0 && so.out.op != OpNone && !so.out.ended {
		if errno, ended := e.tryWrite(so); ended {
			if errno == unix.EPIPE {
				errno = e.brokenPipe(so)
			}
			done := Completion{Slot: s, Op: so.out.op, N: so.out.taken(), Err: errno}
			e.clearWrite(so)
			e.pass(done)
			n++
		}
	}
	// The handler may have closed the socket and put another one into its slot.
	readable := so.flags&flagReadable != 0 || so.in.op == OpWatch
	if event.Fd != idGone && readable && so.in.op != OpNone && !so.in.ended {
		if done, ended := e.tryRead(so); ended {
			if so.out.ended && done.N == 0 {
				e.endRead(s, so, done)
				return n
			}
			done.Slot, done.Op = s, so.in.op
			so.in = reading{}
			e.pass(done)
			n++
		}
	}
	return n
}
