package eventloop

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// completed handles one completion of the kernel and returns how many it passed to the handler.
func (u *uring) completed(e *cqe) int {
	s := Slot(e.userData)
	if e.userData&cancelBit != 0 {
		u.cancelDone(e)
		return 0
	}
	switch e.userData >> 56 {
	case forStream:
		return u.streamDone(s, e)
	case forRead:
		return u.readDone(s, e)
	case forWrite:
		return u.writeDone(s, e)
	case forReadPoll:
		so := u.table.at(s)
		if so.in.op == OpWatch {
			u.watched(s, so, e)
			break
		}
		so.in.polling = false
		switch {
		case so.in.cancelled || e.res == -int32(unix.ECANCELED):
			u.endRead(s, so, Completion{Err: unix.ECANCELED})
		case so.in.op == OpReady:
			u.endRead(s, so, Completion{})
		default:
			u.tryRead(s, so)
		}
	case forWritePoll:
		so := u.table.at(s)
		so.out.polling = false
		if so.out.cancelled || e.res == -int32(unix.ECANCELED) {
			u.endWrite(s, so, unix.ECANCELED)
		} else {
			u.tryWrite(s, so)
		}
	case forWake:
		u.listenForWakeUps()
	}
	return 0
}

// readDone handles the kernel's completion of an accept or a receive.
func (u *uring) readDone(s Slot, e *cqe) int {
	so := u.table.at(s)
	done := Completion{Slot: s, Op: so.in.op, More: e.flags&cqeMore != 0}
	switch {
	case so.in.op == OpAccept:
		if e.res >= 0 {
			done.FD = int(e.res)
			var errno unix.Errno
			if done.Peer, errno = rawsys.PeerAddr(done.FD); errno != 0 { // reset before it was looked at
				rawsys.Close(done.FD)
				done.FD, done.Err = -1, unix.ECONNABORTED
			}
		} else {
			done.FD, done.Err = -1, unix.Errno(-e.res)
		}
		if done.Err != 0 && OfConnection(done.Err) && !so.in.cancelled {
			if !done.More {
				u.accept(s, 0)
			}
			return 0
		}
	case e.res > 0:
		done.N, done.Buffer = u.received(so, e)
	default:
		if e.flags&cqeBuffer != 0 { // the kernel took a buffer and had nothing to put into it
			u.buffers.release(u.buffers.taken(e.flags))
		}
		if e.res < 0 {
			done.Err = unix.Errno(-e.res)
		}
		if so.in.cancelled && inconclusive(done.Err) {
			done.Err = unix.ECANCELED
		} else if u.again(s, so, done.Err) {
			return 0
		}
		so.flags &^= flagDrained
		if so.out.ended {
			u.endRead(s, so, done)
			return 0
		}
	}
	if !done.More {
		so.in = reading{}
	}
	u.pass(done)
	return 1
}

// received takes the buffer of a receive that brought bytes, and updates the flags of the socket.
func (u *uring) received(so *socket, e *cqe) (int, Buffer) {
	so.flags &^= flagDrained | flagFull
	if e.flags&cqeSockNonempty == 0 {
		so.flags |= flagDrained
	}
	if e.res == BufferSize {
		so.flags |= flagFull
	}
	return int(e.res), u.buffers.taken(e.flags)
}

// inconclusive reports whether an errno leaves open how the operation would have ended.
func inconclusive(errno unix.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ENOBUFS
}

// again tries a receive once more if errno does not end it.
func (u *uring) again(s Slot, so *socket, errno unix.Errno) bool {
	switch errno {
	case unix.ENOBUFS:
		u.starve(s, so)
	case unix.EAGAIN:
		if so.in.most > 0 {
			u.endRead(s, so, Completion{Err: unix.ECANCELED})
			return true
		}
		u.pollRead(s, so)
	case unix.EINTR:
		u.tryRead(s, so)
	default:
		return false
	}
	return true
}

// writeDone handles the kernel's completion of a connect or a send.
func (u *uring) writeDone(s Slot, e *cqe) int {
	so := u.table.at(s)
	var errno unix.Errno
	if e.res < 0 {
		errno = unix.Errno(-e.res)
	} else if so.out.op == OpSend {
		so.out.done += e.res
	} else {
		errno = refuseItself(so)
	}
	retry := errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ECANCELED && so.out.moving
	if so.out.op == OpSend && (retry || errno == 0) && int(so.out.done) < len(so.out.data) {
		switch {
		case so.out.cancelled:
			errno = unix.ECANCELED
		case so.out.moving:
			u.spillSend(so)
			u.tryWrite(s, so)
			return 0
		case errno == unix.EAGAIN:
			u.pollWrite(s, so)
			return 0
		default:
			u.tryWrite(s, so)
			return 0
		}
	}
	if so.out.cancelled && inconclusive(errno) {
		errno = unix.ECANCELED
	}
	if so.out.op == OpConnect && errno == unix.ECANCELED {
		errno = cancelledConnect(so)
	}
	if errno == unix.EPIPE {
		errno = u.brokenPipe(so)
	}
	done := Completion{Slot: s, Op: so.out.op, N: so.out.taken(), Err: errno}
	u.clearWrite(so)
	u.pass(done)
	return 1
}
