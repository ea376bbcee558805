package eventloop

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

func (e *epoll) recv(s Slot)           { e.startRead(s, e.table.at(s)) }
func (e *epoll) fill(s Slot)           { e.startRead(s, e.table.at(s)) }
func (e *epoll) ready(s Slot)          { e.startRead(s, e.table.at(s)) }
func (e *epoll) send(s Slot, _ []byte) { e.startWrite(s, e.table.at(s)) }
func (e *epoll) drain(s Slot, _ *Pipe) { e.startWrite(s, e.table.at(s)) }

func (e *epoll) connect(s Slot, addr *rawsys.Sockaddr) {
	so := e.table.at(s)
	so.out.data = addr.Bytes()
	so.flags = so.flags&^(flagReadable|flagHangup|flagPeerEnded|flagBroken) | flagWritable
	e.startWrite(s, so)
}

// watch completes at once if an event has already reported the end.
func (e *epoll) watch(s Slot, _ bool) {
	so := e.table.at(s)
	if done, ended := e.tryWatch(so); ended {
		e.endRead(s, so, done)
		return
	}
	if errno := e.register(s, so); errno != 0 {
		e.endRead(s, so, Completion{Err: errno})
	}
}

// tryWatch reports whether what the watch in flight waits for has happened.
func (e *epoll) tryWatch(so *socket) (Completion, bool) {
	if so.flags&flagBroken == 0 && (!so.in.fin || so.flags&flagPeerEnded == 0) {
		return Completion{}, false
	}
	return Completion{}, true
}

// startRead makes the first attempt at a receive or fill, if it may succeed.
func (e *epoll) startRead(s Slot, so *socket) {
	if so.flags&flagReadable != 0 || so.in.most > 0 {
		if done, ended := e.tryRead(so); ended {
			e.endRead(s, so, done)
			return
		}
	}
	if errno := e.register(s, so); errno != 0 {
		e.endRead(s, so, Completion{Err: errno})
	}
}

// startWrite makes the first attempt at a connect, send or drain, if it may succeed.
func (e *epoll) startWrite(s Slot, so *socket) {
	if so.flags&flagWritable != 0 {
		if errno, ended := e.tryWrite(so); ended {
			e.endWrite(s, so, errno)
			return
		}
	}
	if errno := e.register(s, so); errno != 0 {
		e.endWrite(s, so, errno)
	}
}

// tryRead attempts the receive or fill in flight and reports whether that ended it.
func (e *epoll) tryRead(so *socket) (Completion, bool) {
	switch so.in.op {
	case OpWatch:
		return e.tryWatch(so)
	case OpReady:
		return Completion{}, so.flags&flagReadable != 0
	case OpFill:
		pipe, n, errno := e.loop.pipes.fill(int(so.fd), so.in.pipeful())
		switch {
		case pipe == nil: // none is free: use a buffer
		case errno == unix.EAGAIN:
			return e.nothingToRead(so)
		case n > 0:
			return Completion{N: n, Pipe: pipe}, true
		default:
			return Completion{Err: errno}, true
		}
	}
	buffer := e.buffers.take()
	size := so.in.size()
	n, errno := rawsys.Recv(int(so.fd), e.buffers.bytes(buffer)[:size], unix.MSG_DONTWAIT)
	if n > 0 {
		if n < size && so.flags&flagHangup == 0 {
			so.flags &^= flagReadable
		}
		last := n < size && so.flags&flagPeerEnded != 0
		return Completion{N: n, Buffer: buffer, Last: last}, true
	}
	e.buffers.giveBack(buffer)
	if errno == unix.EAGAIN {
		return e.nothingToRead(so)
	}
	return Completion{Err: errno}, true
}

// nothingToRead ends a read that does not wait; any other one waits for an edge.
func (e *epoll) nothingToRead(so *socket) (Completion, bool) {
	so.flags &^= flagReadable
	return Completion{Err: unix.ECANCELED}, so.in.most > 0
}

// tryWrite attempts the connect, send or drain in flight and reports whether that ended it. It
// continues until the socket accepts no more: a short write alone does not guarantee an edge.
func (e *epoll) tryWrite(so *socket) (unix.Errno, bool) {
	errno := unix.Errno(0)
	out := &so.out
	switch out.op {
	case OpConnect:
		return e.tryConnect(so)
	case OpSend:
		flags := unix.MSG_DONTWAIT
		if out.more {
			flags |= unix.MSG_MORE
		}
		for int(out.done) < len(out.data) && errno == 0 {
			var n int
			n, errno = rawsys.Send(int(so.fd), out.data[out.done:], flags)
			out.done += int32(n)
		}
	case OpDrain:
		for out.pipe.N > 0 && errno == 0 {
			var n int
			n, errno = rawsys.Splice(out.pipe.r, int(so.fd), out.pipe.N)
			out.pipe.N -= n
			out.done += int32(n)
		}
	}
	if errno == unix.EAGAIN {
		so.flags &^= flagWritable
		return 0, false
	}
	return errno, true
}

// tryConnect calls connect(2), and after an event reads its result from SO_ERROR. Calling
// connect(2) again would discard what the peer has sent if it has reset the connection since.
// EAGAIN means that the queue of a unix socket is full. No event reports when it has room.
func (e *epoll) tryConnect(so *socket) (unix.Errno, bool) {
	var errno unix.Errno
	if so.out.polling {
		errno = rawsys.SocketError(int(so.fd))
	} else {
		errno = rawsys.Connect(int(so.fd), so.out.data)
		if errno == unix.EINPROGRESS {
			so.out.polling = true
			so.flags &^= flagWritable
			return 0, false
		}
	}
	if errno == 0 {
		errno = refuseItself(so)
	}
	return errno, true
}

func (e *epoll) recheck(Slot) {} // each end causes an event

func (e *epoll) cancelRead(s Slot) {
	so := e.table.at(s)
	if so.in.op == OpAccept {
		e.stopListening(so)
	}
	e.endRead(s, so, Completion{Err: unix.ECANCELED})
}

func (e *epoll) cancelWrite(s Slot) {
	so := e.table.at(s)
	errno := unix.ECANCELED
	if so.out.op == OpConnect {
		errno = cancelledConnect(so)
	}
	e.endWrite(s, so, errno)
}

func (e *epoll) release(b Buffer) { e.buffers.giveBack(b) }
