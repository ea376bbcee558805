package eventloop

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// acceptsAtATime bounds how many connections are accepted before established ones get their turn.
const acceptsAtATime = 64

// accept registers the listening socket while the operation is in flight. At other times, its
// clients wait in the queue or go to another loop or process that listens.
func (e *epoll) accept(s Slot, _ int) {
	so := e.table.at(s)
	// Otherwise accept would wait if another loop is faster, or if the client is gone.
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

// acceptAll accepts the clients in the queue until the handler cancels, and returns the number of
// completions.
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

// OfConnection reports whether an error of accept(2) belongs to one connection, which accept has
// then removed from the queue, and not to the listening socket or to this process (accept(2), Error
// handling). EPERM does not: the man page attributes it to firewall rules, but a security profile
// that forbids accept(2) returns it too, every time.
func OfConnection(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH,
		unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET, unix.EOPNOTSUPP, unix.ETIMEDOUT:
		return true
	}
	return false
}
