package eventloop

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// acceptBurst is how many connections a multishot accept may bring at once: the whole queue of a
// listening socket, with the usual net.core.somaxconn.
const acceptBurst = 4096

func (u *uring) acceptsAhead() int { return acceptBurst }

func (u *uring) accept(s Slot, room int) {
	e := u.submission()
	e.opcode, e.fd, e.userData = opAccept, u.table.at(s).fd, userData(forRead, s)
	e.opFlags = unix.SOCK_CLOEXEC
	if room > acceptBurst {
		e.ioprio = acceptMultishot
	}
}

func (u *uring) connect(s Slot, addr *rawsys.Sockaddr) {
	if addr.Family() == unix.AF_UNIX {
		// The result is known at once unless the queue is full. io_uring would then keep a worker
		// thread waiting, while connect(2) on a non-blocking socket returns EAGAIN.
		so := u.table.at(s)
		errno := rawsys.SetNonblock(int(so.fd), true)
		if errno == 0 {
			errno = addr.Connect(int(so.fd))
			rawsys.SetNonblock(int(so.fd), false)
		}
		u.endWrite(s, so, errno)
		return
	}
	so := u.table.at(s)
	so.flags |= flagTCP
	so.out.data = addr.Bytes()
	e := u.submission()
	e.opcode, e.fd, e.userData = opConnect, so.fd, userData(forWrite, s)
	e.addr, e.off = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(so.out.data)))), uint64(len(so.out.data))
}

func (u *uring) send(s Slot, data []byte) { u.submitSend(s, u.table.at(s), data) }
func (u *uring) drain(s Slot, _ *Pipe)    { u.tryWrite(s, u.table.at(s)) }

// tryRead makes an attempt at the receive or fill in flight.
func (u *uring) tryRead(s Slot, so *socket) {
	if so.in.op == OpFill {
		pipe, n, errno := u.loop.pipes.fill(int(so.fd), so.in.pipeful())
		switch {
		case pipe == nil: // none is free: use a buffer
		case errno == unix.EAGAIN && so.in.most > 0:
			u.endRead(s, so, Completion{Err: unix.ECANCELED})
			return
		case errno == unix.EAGAIN, errno == unix.EINTR:
			u.pollRead(s, so)
			return
		case n > 0:
			u.endRead(s, so, Completion{N: n, Pipe: pipe})
			return
		default:
			u.endRead(s, so, Completion{Err: errno})
			return
		}
	}
	if u.streams && so.in.most == 0 && !so.in.once && so.flags&flagFull == 0 && so.spliceUsers == 0 && streamable(so) {
		u.startStream(s, so)
		return
	}
	e := u.submission()
	e.opcode, e.fd, e.userData = opRecv, so.fd, userData(forRead, s)
	e.flags, e.bufGroup = sqeBufferSelect, bufferGroup
	if so.in.most > 0 {
		e.len, e.opFlags = uint32(so.in.size()), unix.MSG_DONTWAIT
		return
	}
	// The previous receive took everything, so an attempt now would most likely find nothing. On a
	// non-blocking socket, POLL_FIRST would return EAGAIN at once.
	if so.flags&flagDrained != 0 && so.spliceUsers == 0 {
		e.ioprio = recvsendPollFirst
	}
}

// tryWrite makes an attempt at what is left of the send or drain in flight.
func (u *uring) tryWrite(s Slot, so *socket) {
	if so.out.op == OpSend {
		u.submitSend(s, so, so.out.data[so.out.done:])
		return
	}
	pipe := so.out.pipe
	for pipe.N > 0 {
		n, errno := rawsys.Splice(pipe.r, int(so.fd), pipe.N)
		pipe.N -= n
		so.out.done += int32(n)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			u.pollWrite(s, so)
			return
		}
		if errno != 0 {
			u.endWrite(s, so, errno)
			return
		}
	}
	u.endWrite(s, so, 0)
}

func (u *uring) submitSend(s Slot, so *socket, data []byte) {
	e := u.submission()
	e.opcode, e.fd, e.userData = opSend, so.fd, userData(forWrite, s)
	e.addr, e.len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))), uint32(len(data))
	so.out.batch = u.batch
	// Not with MSG_WAITALL: if a send waits after a partial write and then fails, it completes with
	// the bytes written so far. The error is lost, and the next receive reports the reset as a FIN.
	e.opFlags = unix.MSG_NOSIGNAL
	if so.out.more {
		e.opFlags |= unix.MSG_MORE
	}
}

func (u *uring) pollRead(s Slot, so *socket) {
	so.in.polling = true
	u.poll(so.fd, unix.POLLIN|unix.POLLRDHUP, userData(forReadPoll, s))
}

func (u *uring) pollWrite(s Slot, so *socket) {
	so.out.polling = true
	u.poll(so.fd, unix.POLLOUT, userData(forWritePoll, s))
}

func (u *uring) poll(fd int32, events uint32, data uint64) *submission {
	e := u.submission()
	// poll32_events: the header asks big-endian machines to swap its halves; Linux on Go's
	// big-endian ports is s390x and ppc64, on which this engine has never run.
	e.opcode, e.fd, e.opFlags, e.userData = opPollAdd, fd, events, data
	return e
}

// spliced switches O_NONBLOCK, which splice(2) on a socket obeys instead of its own flag.
func (u *uring) spliced(s Slot, on bool) {
	so := u.table.at(s)
	if on {
		so.spliceUsers++
		if so.spliceUsers == 1 && rawsys.SetNonblock(int(so.fd), true) != 0 { // splice(2) would wait
			u.loop.pipes.unusable = true
		}
		return
	}
	so.spliceUsers--
	if so.spliceUsers == 0 {
		rawsys.SetNonblock(int(so.fd), false)
	}
}

// starve notes a receive that found no buffer, for feed.
func (u *uring) starve(s Slot, so *socket) {
	so.flags |= flagStarved
	u.starved = append(u.starved, s)
}

// feed lets starved receives try again, in the order in which they starved, as many as there are
// buffers. It is called between batches: how many buffers the kernel has is known only after the
// last completion of a batch, and a failed attempt costs as much as a successful one. It reports
// whether another round may feed more.
func (u *uring) feed() bool {
	// Add one for each: buffers that are released meanwhile may go to sockets that receive again
	// before these.
	u.buffers.provide(len(u.starved))
	if u.buffers.inRing <= 0 {
		return false // retried when some are released
	}
	n := min(len(u.starved), u.buffers.inRing)
	for _, s := range u.starved[:n] {
		so := u.table.at(s)
		so.flags &^= flagStarved
		u.tryRead(s, so)
	}
	u.starved = slices.Delete(u.starved, 0, n)
	return len(u.starved) > 0
}
