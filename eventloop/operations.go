package eventloop

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// SocketFlags is SOCK_NONBLOCK or 0. Add it to the type argument of socket(2), and a socket for
// Connect needs no further call.
func (l *Loop) SocketFlags() int { return l.engine.socketFlags() }

// Attach puts a socket into the table. A socket for Connect must have been made with SocketFlags.
// Other sockets may be blocking or not. The slot must be free.
func (l *Loop) Attach(s Slot, fd int) {
	l.table.grow(s)
	so := l.table.at(s)
	*so = socket{fd: int32(fd), generation: so.generation}
	l.engine.attached(s)
}

// FD is the descriptor in slot s.
func (l *Loop) FD(s Slot) int { return int(l.table.at(s).fd) }

// Reading is the operation in flight on the reading half of s, or OpNone.
func (l *Loop) Reading(s Slot) Op { return l.table.at(s).in.op }

// Writing is the operation in flight on the writing half of s, or OpNone.
func (l *Loop) Writing(s Slot) Op { return l.table.at(s).out.op }

// Busy reports whether an operation is in flight on s.
func (l *Loop) Busy(s Slot) bool {
	so := l.table.at(s)
	return so.in.op != OpNone || so.out.op != OpNone
}

// Accept accepts connections on the listening socket in s, one completion each, until one comes
// without More. room is how many the caller can take. If it is small, an engine that cannot stop at
// once (see AcceptsAhead) accepts one at a time.
func (l *Loop) Accept(s Slot, room int) {
	l.startRead(s, OpAccept).flags |= flagListening
	l.engine.accept(s, room)
}

// AcceptsAhead is how many connections an Accept may still bring after it was cancelled. If there
// is room for no more than that, cancel it.
func (l *Loop) AcceptsAhead() int { return l.engine.acceptsAhead() }

// Connect connects the socket in s. addr must stay as it is until the completion. If the socket has
// connected to itself, the error is ECONNREFUSED; see rawsys.ConnectedToItself.
func (l *Loop) Connect(s Slot, addr *rawsys.Sockaddr) {
	so := l.startWrite(s, OpConnect)
	if addr.MayMeetItself() {
		so.flags |= flagToItself
	}
	l.engine.connect(s, addr)
}

// Recv receives once, as soon as bytes have come, into a buffer of the loop. Until then it holds no
// buffer. The engine may receive ahead: less than two buffers' worth of bytes then wait for the
// next Recv.
func (l *Loop) Recv(s Slot) {
	l.startRead(s, OpRecv)
	l.engine.recv(s)
}

// RecvOnce is Recv that never receives ahead: what follows these bytes stays in the socket until
// the next Recv. Use it where another operation than Recv may follow.
func (l *Loop) RecvOnce(s Slot) {
	l.startRead(s, OpRecv).in.once = true
	l.engine.recv(s)
}

// Send sends all of data, which must stay as it is until the completion. len(data) must be
// positive.
func (l *Loop) Send(s Slot, data []byte) {
	l.startWrite(s, OpSend).out.data = data
	l.engine.send(s, data)
}

// Forward sends the first n bytes of b, like Send, and releases b when the send has ended. b
// belongs to the loop from then on, which may need it for other sockets while the peer reads
// nothing. Set more if a Shutdown will follow: the kernel then holds the last packet back, so that
// the FIN can go with it (MSG_MORE, send(2)).
func (l *Loop) Forward(s Slot, b Buffer, n int, more bool) {
	out := &l.startWrite(s, OpSend).out
	out.buffer, out.data, out.more = b, l.engine.bytes(b)[:n], more
	l.engine.send(s, out.data)
}

// Fill moves bytes from the socket in s into a pipe, as soon as there are some. The pipe is
// borrowed only then, and is the handler's from the completion on (see ReturnPipe). If no pipe is
// free, the bytes come in a buffer. s must have been marked with Spliced.
func (l *Loop) Fill(s Slot) {
	l.startRead(s, OpFill)
	l.engine.fill(s)
}

// Drain moves all bytes of the pipe to the socket in s, which must have been marked with Spliced.
func (l *Loop) Drain(s Slot, p *Pipe) {
	l.startWrite(s, OpDrain).out.pipe = p
	l.engine.drain(s, p)
}

// Ready waits until a receive on s would find bytes or the end of the stream, without receiving. It
// holds no buffer. The socket may turn out to have nothing to receive.
func (l *Loop) Ready(s Slot) {
	l.startRead(s, OpReady)
	l.engine.ready(s)
}

// RecvNow is Recv, but it receives no more than most bytes (at most BufferSize), and does not wait:
// if nothing has come, it ends with ECANCELED. Only bytes that the engine has received ahead for an
// earlier Recv may be more.
func (l *Loop) RecvNow(s Slot, most int) {
	l.startRead(s, OpRecv).in.most = int32(min(most, BufferSize))
	l.engine.recv(s)
}

// FillNow is Fill, within the limits of RecvNow.
func (l *Loop) FillNow(s Slot, most int) {
	l.startRead(s, OpFill).in.most = int32(min(most, pipeSize))
	l.engine.fill(s)
}

// MostAtOnce is the most bytes that one receive (or fill, if spliced) can bring.
func MostAtOnce(spliced bool) int {
	if spliced {
		return pipeSize
	}
	return BufferSize
}

// Spliced prepares the socket in s for Fill and Drain (on), or ends that. Calls nest. All
// operations work in either state, but Recv and Send cost less while it is off.
func (l *Loop) Spliced(s Slot, on bool) { l.engine.spliced(s, on) }

// Watch waits for the end of the connection without reading. It completes when the peer has reset
// the connection, when the peer takes no more bytes (a closed unix socket) or, with fin, when the
// peer's FIN has come, whether or not bytes precede it. The error of a reset stays on the socket
// (SO_ERROR) for the next operation. It is an operation of the reading half.
func (l *Loop) Watch(s Slot, fin bool) {
	l.startRead(s, OpWatch).in.fin = fin
	l.engine.watch(s, fin)
}

// Recheck makes the receive in flight on s look at its socket once more. Use it for a socket that
// has ended while its receive is still in flight: if the last bytes and the end come between the
// receive's attempt and its poll, a multishot receive looks only once.
func (l *Loop) Recheck(s Slot) { l.engine.recheck(s) }

// CancelRead ends the operation in flight on the reading half of s, if there is one. The operation
// still completes: with ECANCELED, or with what happened before the cancel took effect.
func (l *Loop) CancelRead(s Slot) {
	if so := l.table.at(s); so.in.op != OpNone && !so.in.ended && !so.in.cancelled {
		so.in.cancelled = true
		l.engine.cancelRead(s)
	}
}

// CancelWrite is CancelRead for the writing half.
func (l *Loop) CancelWrite(s Slot) {
	if so := l.table.at(s); so.out.op != OpNone && !so.out.ended && !so.out.cancelled {
		so.out.cancelled = true
		l.engine.cancelWrite(s)
	}
}

// Shutdown sends a FIN after the bytes that were sent: shutdown(2) of the writing half.
func (l *Loop) Shutdown(s Slot) unix.Errno { return rawsys.Shutdown(l.FD(s), unix.SHUT_WR) }

// Detach takes the socket out of the table and returns its descriptor, which then belongs to the
// caller. No operation may be in flight, and no bytes that the engine has received ahead may be
// left: call Recv and CancelRead while Ahead reports true.
func (l *Loop) Detach(s Slot) int {
	so := l.table.at(s)
	if so.in.op != OpNone || so.out.op != OpNone {
		panic(fmt.Sprintf("eventloop: detach of slot %d with %v and %v in flight", s, so.in.op, so.out.op))
	}
	l.engine.detached(s)
	fd := int(so.fd)
	so.fd = -1
	return fd
}

// Close closes the socket in s. No operation may be in flight.
func (l *Loop) Close(s Slot) { rawsys.Close(l.detachToClose(s)) }

// Reset closes the socket in s with a reset instead of a FIN. Bytes that are not delivered yet are
// discarded.
func (l *Loop) Reset(s Slot) {
	fd := l.detachToClose(s)
	rawsys.SetLinger(fd, 1, 0)
	rawsys.Close(fd)
}

func (l *Loop) detachToClose(s Slot) int {
	l.table.at(s).flags |= flagClosing
	return l.Detach(s)
}

// A Buffer identifies a buffer of the loop that a receive has filled. The zero value is no buffer.
type Buffer uint32

// BufferSize is the size of every buffer of a loop, in bytes.
const BufferSize = 16 << 10

// Bytes is the memory of b. The completion has the number of bytes received.
func (l *Loop) Bytes(b Buffer) []byte { return l.engine.bytes(b) }

// Release gives b back to the loop.
func (l *Loop) Release(b Buffer) { l.engine.release(b) }

// Splices reports whether Fill can splice. If the loop has found that this system does not allow
// it, Fill works like Recv.
func (l *Loop) Splices() bool { return !l.pipes.unusable }

// ReturnPipe gives a pipe back, empty or not.
func (l *Loop) ReturnPipe(p *Pipe) { l.pipes.giveBack(p) }

func (l *Loop) startRead(s Slot, op Op) *socket {
	so := l.table.at(s)
	if so.in.op != OpNone {
		panic(fmt.Sprintf("eventloop: %v on slot %d while %v is in flight", op, s, so.in.op))
	}
	so.in.op = op
	return so
}

func (l *Loop) startWrite(s Slot, op Op) *socket {
	so := l.table.at(s)
	if so.out.op != OpNone {
		panic(fmt.Sprintf("eventloop: %v on slot %d while %v is in flight", op, s, so.out.op))
	}
	so.out.op = op
	return so
}
