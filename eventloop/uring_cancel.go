package eventloop

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The user data of a cancel request has cancelBit, and above the stream's generation how often the
// operation was cancelled before.
const (
	cancelBit      = 1 << 63
	cancelTry      = 1 << 48
	cancelTries    = 0xff * cancelTry
	cancelTriesOld = 4 // for a stream whose socket is closed
)

func (u *uring) cancelRead(s Slot) {
	so := u.table.at(s)
	switch {
	case so.flags&flagStarved != 0:
		so.flags &^= flagStarved
		u.starved = slices.DeleteFunc(u.starved, func(waiting Slot) bool { return waiting == s })
		u.endRead(s, so, Completion{Err: unix.ECANCELED})
	case so.in.polling:
		u.cancel(userData(forReadPoll, s))
	case so.flags&flagStreaming != 0:
		u.stopStream(s, so)
	default:
		u.cancel(userData(forRead, s))
	}
}

func (u *uring) cancelWrite(s Slot) {
	if u.table.at(s).out.polling {
		u.cancel(userData(forWritePoll, s))
	} else {
		u.cancel(userData(forWrite, s))
	}
}

// cancel asks the kernel to end the operation with this user data. If it has ended meanwhile, its
// own completion has the result.
func (u *uring) cancel(data uint64) { u.submitCancel(data, 0) }

func (u *uring) submitCancel(data, tries uint64) {
	e := u.submission()
	e.opcode, e.fd, e.addr, e.userData = opAsyncCancel, -1, data, data|tries|cancelBit
}

// cancelDone cancels again if the kernel has not found an operation that it still has. It finds
// those that wait. One whose socket became ready just as it began to wait is queued to try again
// instead (IO_APOLL_READY in the kernel's io_uring/io_uring.c). If that attempt finds nothing,
// because another loop has taken the client, the operation waits again, and no longer ends.
func (u *uring) cancelDone(e *cqe) {
	if errno := unix.Errno(-e.res); e.res >= 0 || errno != unix.ENOENT && errno != unix.EALREADY {
		return
	}
	tries := e.userData & cancelTries
	data := e.userData &^ (cancelBit | cancelTries)
	if !u.awaitsCancel(data, tries) {
		return
	}
	u.submitCancel(data, min(tries+cancelTry, cancelTries))
}

// awaitsCancel reports whether the kernel has an operation that was cancelled.
func (u *uring) awaitsCancel(data, tries uint64) bool {
	so := u.table.at(Slot(data))
	in, out := &so.in, &so.out
	reads, writes := in.op != OpNone && !in.ended, out.op != OpNone && !out.ended
	switch data >> 56 {
	case forRead:
		return reads && in.cancelled && !in.polling && so.flags&(flagStreaming|flagStarved) == 0
	case forReadPoll:
		return reads && in.polling && (in.cancelled || in.found)
	case forWrite:
		return writes && !out.polling && (out.cancelled || out.moving)
	case forWritePoll:
		return writes && out.polling && out.cancelled
	case forStream:
		if uint16(data>>32) != so.generation {
			// The socket is closed here, and stays open in the kernel as long as its stream.
			// Whether that has ended is not known any more.
			return tries < cancelTriesOld*cancelTry
		}
		return so.flags&(flagStreaming|flagStopping) == flagStreaming|flagStopping
	}
	return false
}
