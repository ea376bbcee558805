package eventloop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Slot names a socket within its loop. Slots are small numbers: the table grows to the largest
// one in use.
type Slot uint32

// Op is a kind of operation. A socket has at most one operation in flight on its reading half
// (OpAccept, OpRecv, OpFill, OpWatch, OpReady) and one on its writing half (OpConnect, OpSend,
// OpDrain).
type Op uint8

// The operations.
const (
	OpNone    Op = iota
	OpAccept     // listening socket -> connections, until cancelled or failed
	OpConnect    // until the peer answered
	OpRecv       // socket -> one buffer of the loop
	OpSend       // memory -> socket, all of it
	OpFill       // socket -> pipe, splice(2)
	OpDrain      // pipe -> socket, splice(2), until the pipe is empty
	OpWatch      // waits until the peer resets the connection or hangs up
	OpReady      // waits until there is something to receive
)

func (o Op) String() string {
	return [...]string{"none", "accept", "connect", "recv", "send", "fill", "drain", "watch", "ready"}[o]
}

// A Completion says how an operation ended. It is valid only during the call to [Handler.Complete].
type Completion struct {
	Slot Slot
	Op   Op
	// More: the operation stays in flight and completes again. Only OpAccept does. If More is
	// false, start it again.
	More bool
	// Err is 0 for success, ECANCELED after a cancel that took effect.
	Err unix.Errno
	// N counts bytes. For OpRecv and OpFill, 0 without an error is the end of the stream (the
	// peer's FIN). For OpSend and OpDrain it counts what was taken before an error or a cancel, so
	// that what is left is known.
	N int
	// Buffer holds the N bytes of an OpRecv. It belongs to the handler until [Loop.Release] or
	// [Loop.Forward].
	Buffer Buffer
	// Last: the peer's FIN is known to follow the N bytes of an OpRecv. It may also follow if Last
	// is not set.
	Last bool
	// Pipe holds the N bytes of an OpFill; or Buffer does, if no pipe was free. It belongs to the
	// handler until [Loop.ReturnPipe].
	Pipe *Pipe
	// FD and Peer are the new connection of an OpAccept; FD is the handler's. Peer is the zero
	// value for unix sockets.
	FD   int
	Peer netip.AddrPort
}

// A Handler is what a loop works for. All its methods are called on the loop's thread and must not
// block.
type Handler interface {
	// Complete is called once for each operation that has ended (and for each connection accepted).
	Complete(*Completion)
	// Expire is called when the timer set with [Loop.SetTimer] is due.
	Expire(id uint32)
	// Message is called with each value given to [Loop.Post], in order.
	Message(any)
	// BatchEnd is called before the loop waits, after a batch of the above.
	BatchEnd()
}
