package eventloop

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// socket is what an engine keeps for one slot.
type socket struct {
	fd    int32
	flags socketFlags
	// spliceUsers counts the directions of a connection that use this socket through splice(2).
	spliceUsers uint8
	// io_uring: what a stream of receives has brought ahead of Recv; see uring_stream.go.
	ahead, aheadLast Buffer
	aheadErr         uint16 // errno; 0 is the end of the stream. Counts with flagEndAhead
	generation       uint16 // distinguishes streams of this socket from those of the previous one in the slot
	in               reading
	out              writing
}

type socketFlags uint32

const (
	flagListening socketFlags = 1 << iota // made by accept: a listening socket
	flagDrained                           // io_uring: the last receive took all there was
	flagReadable                          // epoll: reading may succeed
	flagWritable                          // epoll: writing may succeed
	flagHangup                            // epoll: FIN, error or urgent data were seen, or a unix socket; a short read may not be the last
	flagWatched                           // epoll: registered with the epoll instance
	flagNonblock                          // epoll: O_NONBLOCK is known to be set
	flagStarved                           // the receive waits for a buffer
	flagFull                              // io_uring: the last receive filled its buffer
	flagStreaming                         // io_uring: a stream of receives is in flight
	flagStopping                          // io_uring: the stream has been cancelled
	flagPeerEnded                         // epoll: the peer's FIN has come; bytes may stand before it
	flagBroken                            // epoll: the peer has reset the connection, or hung up
	flagEndAhead                          // io_uring: the stream has met the end, or an error
	flagClosing                           // the descriptor is closed right after detached
	flagToItself                          // a connect may connect the socket to itself; see rawsys.ConnectedToItself
	flagTCP                               // io_uring: known to be a TCP socket
	flagUnix                              // io_uring: known to be a unix socket
)

// reading is the operation in flight on a socket's reading half.
type reading struct {
	op        Op
	ended     bool // the completion waits in common.ready
	cancelled bool
	polling   bool  // io_uring: what the kernel has is a poll; the operation itself is tried after it
	fin       bool  // of OpWatch: the FIN counts
	found     bool  // io_uring, of OpWatch: the end has been seen
	most      int32 // of OpRecv and OpFill: the most bytes, without waiting for them; 0 for an ordinary one
	once      bool  // io_uring, of OpRecv: not by a stream; see RecvOnce
}

// size is the most bytes that a receive into a buffer may take.
func (r *reading) size() int {
	if r.most == 0 {
		return BufferSize
	}
	return min(int(r.most), BufferSize)
}

// pipeful is the most bytes that a fill may take.
func (r *reading) pipeful() int {
	if r.most == 0 {
		return pipeSize
	}
	return int(r.most)
}

// writing is the operation in flight on a socket's writing half.
type writing struct {
	op        Op
	ended     bool
	cancelled bool
	more      bool   // of OpSend: MSG_MORE
	polling   bool   // as above; epoll: connect(2) has been called
	moving    bool   // io_uring: cancelled to move its bytes out of a shared buffer; see uring_spill.go
	buffer    Buffer // holds data, and is released when the operation has ended; 0: data belongs to the handler
	before    int32  // bytes taken that preceded data
	done      int32  // bytes of data already taken
	batch     uint32 // io_uring: the batch in which it was submitted
	data      []byte // of OpSend: all bytes; of OpConnect: the address
	pipe      *Pipe
}

// taken is the number of bytes that the kernel has taken.
func (w *writing) taken() int { return int(w.before + w.done) }

// socketChunk sockets are allocated at a time: a table that grows must not copy sockets whose
// address is in use.
const socketChunk = 256

// table finds sockets by slot.
type table struct {
	chunks []*[socketChunk]socket
}

func (t *table) at(s Slot) *socket { return &t.chunks[s/socketChunk][s%socketChunk] }

// grow makes room for slot s.
func (t *table) grow(s Slot) {
	for int(s/socketChunk) >= len(t.chunks) {
		t.chunks = append(t.chunks, new([socketChunk]socket))
	}
}

// common is what both engines share: the sockets, and completions that are known without waiting.
type common struct {
	loop  *Loop
	table table
	// ready holds completions of operations that ended at once. They are not delivered from within
	// the call that started the operation: the handler would be re-entered, and one fast connection
	// could occupy the loop.
	ready     []Completion
	delivered int // how many of ready have been passed on
	passed    Completion
}

func (c *common) complete(done Completion) { c.ready = append(c.ready, done) }

// pass calls the handler. The completion is copied to c, because an argument of an interface method
// escapes: a local variable would be allocated per event.
func (c *common) pass(done Completion) {
	c.passed = done
	c.loop.handler.Complete(&c.passed)
}

// deliver passes on the completions that are ready, and those that they lead to, but only a few
// rounds: a splice between two fast peers would never end.
func (c *common) deliver() int {
	const rounds = 3
	total := 0
	for range rounds {
		end := len(c.ready)
		if c.delivered == end {
			break
		}
		for ; c.delivered < end; c.delivered++ {
			done := c.ready[c.delivered] // a copy: the handler may make ready grow
			so := c.table.at(done.Slot)
			switch done.Op {
			case OpAccept, OpRecv, OpFill, OpWatch, OpReady:
				so.in = reading{}
			case OpConnect, OpSend, OpDrain:
				c.clearWrite(so)
			}
			c.pass(done)
			total++
		}
	}
	if c.delivered == len(c.ready) {
		c.ready, c.delivered = c.ready[:0], 0
	} else if c.delivered > 1024 {
		c.ready = append(c.ready[:0], c.ready[c.delivered:]...)
		c.delivered = 0
	}
	return total
}

func (c *common) anyReady() bool { return c.delivered < len(c.ready) }

// endRead ends the operation on the reading half. Its completion is delivered later, and until then
// the operation counts as in flight: if the handler closed the socket in between, the completion
// would name a slot that is free or has another socket.
//
// If a read finds the end of the stream while the completion of a failed write is pending, the
// write's completion has to come first. The kernel reports an error once; to the next read, the
// connection looks as if the peer had finished.
func (c *common) endRead(s Slot, so *socket, done Completion) {
	done.Slot, done.Op = s, so.in.op
	so.in.ended = true
	c.complete(done)
}

// endWrite ends the operation on the writing half, with the bytes taken so far; see endRead.
func (c *common) endWrite(s Slot, so *socket, errno unix.Errno) {
	if errno == unix.EPIPE {
		errno = c.brokenPipe(so)
	}
	so.out.ended = true
	c.complete(Completion{Slot: s, Op: so.out.op, N: so.out.taken(), Err: errno})
}

// brokenPipe finds out why a write has failed with EPIPE. The kernel reports the error of a
// connection once. Here, it has reported it to a stream of receives, or dropped it in a splice(2)
// that had moved a part (splice_to_socket in the kernel's fs/splice.c). A connection that ended
// while packets were being retransmitted has timed out.
func (c *common) brokenPipe(so *socket) unix.Errno {
	if so.flags&flagEndAhead != 0 && so.aheadErr != 0 {
		return unix.Errno(so.aheadErr)
	}
	const closed = 7 // TCP_CLOSE, include/net/tcp_states.h
	var info unix.TCPInfo
	if rawsys.TCPInfo(int(so.fd), &info) == 0 && info.State == closed && (info.Retransmits > 0 || info.Probes > 0) {
		return unix.ETIMEDOUT
	}
	return unix.EPIPE
}

// clearWrite frees the writing half and its buffer.
func (c *common) clearWrite(so *socket) {
	if so.out.buffer != 0 {
		c.loop.engine.release(so.out.buffer)
	}
	so.out = writing{}
}

// cancelledConnect is how a connect that was cancelled has ended. The kernel may have completed the
// handshake before, and the engine has not seen that yet. The peer has the connection then, so it
// must not look like one that was never made.
func cancelledConnect(so *socket) unix.Errno {
	const established, closed, closeWait = 1, 7, 8 // include/net/tcp_states.h
	var info unix.TCPInfo
	if rawsys.TCPInfo(int(so.fd), &info) != 0 {
		return unix.ECANCELED // a unix socket, or a security profile that forbids the call
	}
	switch info.State {
	case established, closeWait:
		return refuseItself(so)
	case closed:
		if errno := rawsys.SocketError(int(so.fd)); errno != 0 {
			return errno
		}
	}
	return unix.ECANCELED
}

// refuseItself returns ECONNREFUSED for a socket that is connected to itself, as the connect would
// have failed with any other source port, and makes closing the socket send a reset.
func refuseItself(so *socket) unix.Errno {
	if so.flags&flagToItself == 0 || !rawsys.ConnectedToItself(int(so.fd), so.out.data) {
		return 0
	}
	rawsys.SetLinger(int(so.fd), 1, 0)
	return unix.ECONNREFUSED
}
