package eventloop

import "golang.org/x/sys/unix"

// What a handler needs to take a socket away in the middle of a stream, without losing a byte:
//  1. Note Unsent, and end what is in flight with CancelRead and CancelWrite.
//  2. When both have completed, and while Ahead holds, call Recv and CancelRead.
//  3. Detach.

// Unsent returns the bytes of the send in flight on s that are not known to be taken by the kernel,
// and the number of bytes before them that are. When the send completes with N, the first N-taken
// of the bytes have been sent. They are valid until another method of the loop is called.
func (l *Loop) Unsent(s Slot) (rest []byte, taken int) {
	out := &l.table.at(s).out
	if out.op != OpSend {
		return nil, 0
	}
	return out.data[out.done:], out.taken()
}

// Ahead reports whether the engine may have received bytes, or the end of the stream, for which no
// Recv has asked yet; see Detach.
func (l *Loop) Ahead(s Slot) bool {
	so := l.table.at(s)
	return so.flags&(flagStreaming|flagEndAhead) != 0 || so.ahead != 0
}

// Empty moves the bytes out of a pipe into memory. The pipe stays the handler's.
func (l *Loop) Empty(p *Pipe) []byte {
	data := make([]byte, p.N)
	for read := 0; read < len(data); {
		n, err := unix.Read(p.r, data[read:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 { // cannot be: the pipe holds N bytes, and no other reader exists
			panic("eventloop: a pipe has lost bytes")
		}
		read += n
	}
	p.N = 0
	return data
}
