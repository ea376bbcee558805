package eventloop

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// A stream is a receive that stays in the kernel and completes again and again
// (IORING_RECV_MULTISHOT): the requests of a connection come without a new submission and without a
// new poll. This saves 7 % of the CPU time per request.
//
// The handler still sees one completion for each Recv. Bytes that come before the next Recv wait
// here, and stop the stream: a fast sender must not fill memory while its reader is slow. A stream
// does not stop at once, so streamBytes bounds it too. Linux 6.17 introduced that bound. On older
// kernels, and where streams lose the end (see streamsWork), every receive is a single one. Sockets
// that fill whole buffers get single receives too.

// streamBytes is how much a stream may bring. Then it ends, and the next Recv starts another. The
// kernel checks after each receive, so the last one may exceed the bound by a whole buffer.
const streamBytes = BufferSize

func streamData(s Slot, generation uint16) uint64 {
	return userData(forStream, s) | uint64(generation)<<32
}

func (u *uring) recv(s Slot) { u.read(s) }
func (u *uring) fill(s Slot) { u.read(s) } // a stream in flight has to be read to its end first

// read passes on what has come ahead, waits for the stream, or tries to read.
func (u *uring) read(s Slot) {
	so := u.table.at(s)
	switch {
	case so.ahead != 0:
		buffer := so.ahead
		at := u.buffers.link(buffer)
		so.ahead = at.next
		u.endRead(s, so, Completion{N: int(at.length), Buffer: buffer})
	case so.flags&flagEndAhead != 0:
		so.flags &^= flagEndAhead
		u.endRead(s, so, Completion{Err: unix.Errno(so.aheadErr)})
	case so.flags&flagStreaming == 0:
		u.tryRead(s, so)
	case so.in.most > 0: // it must not wait for the stream
		u.stopStream(s, so)
	}
}

// ready waits for a stream in flight, which keeps what it brings for the next receive, or polls.
func (u *uring) ready(s Slot) {
	so := u.table.at(s)
	switch {
	case so.ahead != 0 || so.flags&flagEndAhead != 0:
		u.endRead(s, so, Completion{})
	case so.flags&flagStreaming == 0:
		u.pollRead(s, so)
	}
}

func (u *uring) startStream(s Slot, so *socket) {
	so.flags |= flagStreaming
	u.submitStream(so.fd, streamData(s, so.generation))
}

// streamable reports whether the socket can have a stream. A unix socket cannot: each message wakes
// the stream, and the kernel counts at most 127 wake-ups (IO_POLL_REF_BIAS in io_uring/poll.c). If
// more messages than that come while the stream receives, the end behind them can be lost.
func streamable(so *socket) bool {
	const known = flagTCP | flagUnix
	if so.flags&known == 0 {
		if so.flags |= flagTCP; rawsys.IsUnix(int(so.fd)) {
			so.flags ^= known
		}
	}
	return so.flags&flagTCP != 0
}

func (u *uring) submitStream(fd int32, data uint64) {
	e := u.submission()
	e.opcode, e.fd, e.userData = opRecv, fd, data
	e.flags, e.bufGroup, e.fileIndex = sqeBufferSelect, bufferGroup, streamBytes // sqe->optlen, in a union
	// Never with POLL_FIRST: the kernel would receive once after its poll has reported data, and
	// then wait for another wake-up. An end that came together with the last bytes causes none.
	e.ioprio = recvMultishot
}

func (u *uring) stopStream(s Slot, so *socket) {
	if so.flags&flagStopping == 0 {
		so.flags |= flagStopping
		u.cancel(streamData(s, so.generation))
	}
}

// recheck restarts the stream of a waiting receive: it cancels the stream, and streamEnded tries
// again.
func (u *uring) recheck(s Slot) {
	so := u.table.at(s)
	if so.flags&flagStreaming != 0 && so.in.op != OpNone && !so.in.ended {
		u.stopStream(s, so)
	}
}

// streamDone handles one completion of a stream and returns how many it passed on to the handler.
func (u *uring) streamDone(s Slot, e *cqe) int {
	so := u.table.at(s)
	if uint16(e.userData>>32) != so.generation { // of a socket that is closed
		u.recycle(e)
		return 0
	}
	if e.flags&cqeMore == 0 {
		so.flags &^= flagStreaming | flagStopping
	}
	asked := so.in.op != OpNone && so.in.op != OpReady && !so.in.ended
	if so.in.op == OpReady && !so.in.ended {
		defer u.streamReady(s, so)
	}
	if e.res > 0 {
		n, buffer := u.received(so, e)
		if asked {
			done := Completion{Slot: s, Op: so.in.op, N: n, Buffer: buffer, Last: u.endFollows(e)}
			so.in = reading{}
			u.pass(done)
			return 1
		}
		u.keep(so, buffer, n)
		if so.flags&flagStreaming != 0 {
			u.stopStream(s, so)
		}
		return 0
	}
	u.recycle(e)
	return u.streamEnded(s, so, unix.Errno(-e.res), asked)
}

// endFollows reports whether the next completion is the end of the same stream: when the peer's FIN
// has come with its last bytes, the kernel completes twice in a row.
func (u *uring) endFollows(e *cqe) bool {
	head := *u.cqHead // behind e
	if head == atomic.LoadUint32(u.cqTail) {
		return false
	}
	next := &u.cqes[head&u.cqMask]
	return next.userData == e.userData && next.res == 0
}

// streamReady ends a wait for a stream that has brought something, or continues without the stream.
func (u *uring) streamReady(s Slot, so *socket) {
	switch {
	case so.in.cancelled && so.flags&flagStreaming == 0:
		u.endRead(s, so, Completion{Err: unix.ECANCELED})
	case !so.in.cancelled:
		u.ready(s)
	}
}

// streamEnded handles the end of a stream that brought no bytes: errno 0 is the end of the peer's
// bytes.
func (u *uring) streamEnded(s Slot, so *socket, errno unix.Errno, asked bool) int {
	so.flags &^= flagDrained
	again := errno == unix.ECANCELED || inconclusive(errno)
	switch {
	case asked && again && so.in.cancelled:
		errno = unix.ECANCELED
	case asked && again:
		if errno == unix.ENOBUFS {
			u.starve(s, so)
		} else {
			u.tryRead(s, so)
		}
		return 0
	case again:
		return 0 // the next Recv starts another
	case !asked:
		so.flags |= flagEndAhead
		so.aheadErr = uint16(errno)
		return 0
	}
	done := Completion{Slot: s, Op: so.in.op, Err: errno}
	if so.out.ended {
		u.endRead(s, so, done)
		return 0
	}
	so.in = reading{}
	u.pass(done)
	return 1
}

// keep adds a buffer to those that have come ahead.
func (u *uring) keep(so *socket, buffer Buffer, n int) {
	*u.buffers.link(buffer) = link{length: uint32(n)}
	if so.ahead == 0 {
		so.ahead = buffer
	} else {
		u.buffers.link(so.aheadLast).next = buffer
	}
	so.aheadLast = buffer
}

// recycle gives back the buffer that a completion may have come with.
func (u *uring) recycle(e *cqe) {
	if e.flags&cqeBuffer != 0 {
		u.release(u.buffers.taken(e.flags))
	}
}

// detached abandons a stream: its completions no longer count. The stream keeps the socket open
// until the kernel ends it, at the next submission.
func (u *uring) detached(s Slot) {
	so := u.table.at(s)
	if so.flags&flagStreaming == 0 && so.ahead == 0 {
		return
	}
	if so.flags&flagClosing == 0 {
		panic("eventloop: detach of a socket that receives ahead; Recv and CancelRead until ECANCELED")
	}
	if so.flags&flagStreaming != 0 {
		u.stopStream(s, so)
		so.flags &^= flagStreaming | flagStopping
		so.generation++
	}
	for so.ahead != 0 {
		buffer := so.ahead
		so.ahead = u.buffers.link(buffer).next
		u.release(buffer)
	}
}
