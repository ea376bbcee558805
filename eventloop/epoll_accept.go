package eventloop

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// acceptsAtATime bounds how many connections are accepted before the established ones have their turn.
const acceptsAtATime = 64

// accept registers the listening socket for as long as the operation is in flight: without it, a connection belongs to
// another loop or process that listens too, or waits in the queue.
func (e *epoll) accept(s Slot, _ int) {
	so := e.table.at(s)
	// Another loop may be faster, and a connection may be gone before it is accepted.
	errno := e.setNonblock(so)
	if errno == 0 {
		errno = rawsys.EpollAdd(e.fd, int(so.fd), listenerEvents, int32(s))
	}
	if errno != 0 {
		e.endRead(s, so, Completion{FD: -1, Err: errno})
		return
	}
	so.flags |= flagWatched
}

func (e *epoll) acceptsAhead() int { return 0 }

func (e *epoll) stopListening(so *socket) {
	rawsys.EpollDelete(e.fd, int(so.fd))
	so.flags &^= flagWatched
}

// acceptAll accepts what has queued up, until the handler cancels, and returns how many completions that made.
func (e *epoll) acceptAll(s Slot, so *socket) int {
	n := 0
	for range acceptsAtATime {
		if so.in.op != OpAccept || so.in.ended {
			break
		}
		fd, peer, errno := rawsys.Accept(int(so.fd), unix.SOCK_NONBLOCK)
		switch {
		case errno == 0:
			e.pass(Completion{Slot: s, Op: OpAccept, More: true, FD: fd, Peer: peer})
			n++
		case errno == unix.EAGAIN:
			return n
		case !OfConnection(errno):
			e.stopListening(so)
			so.in = reading{}
			e.pass(Completion{Slot: s, Op: OpAccept, FD: -1, Err: errno})
			return n + 1
		}
	}
	return n
}

// OfConnection tells whether an error of accept(2) is that of one connection, which was taken from the queue with it,
// and not one of the listening socket or of this process (accept(2), Error handling). EPERM is not: the page lays it on
// firewall rules, but a security profile that forbids accept says so too, and keeps saying so.
func OfConnection(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH,
		unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET, unix.EOPNOTSUPP, unix.ETIMEDOUT:
		return true
	}
	return false
}
