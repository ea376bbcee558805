package eventloop

import (
	"slices"
	"time"
)

// If a peer reads nothing, the bytes for it stay in the loop. While they occupy shared buffers,
// other connections cannot use these, and enough such peers would stop the loop. So when shared
// buffers run short, the bytes of waiting sends, and those that streams have received ahead, are
// copied ("spilled") to private memory of their size, which frees the buffers.

// A spilledBuffer is private memory for bytes that a shared buffer held.
type spilledBuffer struct {
	data []byte
	link link
}

// spilledBuffers are those in use. Their ids follow those of the shared buffers.
type spilledBuffers struct {
	all  []spilledBuffer
	free []Buffer
}

func (s *spilledBuffers) at(id Buffer) *spilledBuffer { return &s.all[id-buffersReserved-1] }

func (s *spilledBuffers) add(data []byte) Buffer {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		s.at(id).data = data
		return id
	}
	s.all = append(s.all, spilledBuffer{data: data})
	return Buffer(buffersReserved + len(s.all))
}

func (s *spilledBuffers) release(id Buffer) {
	*s.at(id) = spilledBuffer{}
	s.free = append(s.free, id)
	if len(s.free) == len(s.all) { // the shortage is over
		s.all, s.free = nil, nil
	}
}

const (
	// spillsAtOnce bounds how many sockets give up buffers between two batches.
	spillsAtOnce = 1024
	// spillPause is the pause after a round through all sockets that freed no buffer.
	spillPause = 10 * time.Millisecond
)

// spill takes shared buffers from sockets on which nothing moves, if buffers run short. It goes
// round the sockets, and continues where it stopped before.
func (u *uring) spill() {
	if !u.buffers.short() || u.loop.now < u.spillAfter {
		return
	}
	sockets := len(u.table.chunks) * socketChunk
	relieved := 0
	for range sockets {
		u.spillNext = (u.spillNext + 1) % Slot(sockets)
		if u.relieve(u.spillNext) {
			if relieved++; relieved == spillsAtOnce {
				return
			}
		}
	}
	if relieved == 0 {
		u.spillAfter = u.loop.now + int64(spillPause)
	}
}

// relieve takes the shared buffers of one socket, and reports whether the socket held any on which
// nothing moves.
func (u *uring) relieve(s Slot) bool {
	so := u.table.at(s)
	relieved := u.spillAhead(so)
	out := &so.out
	if out.buffer == 0 || out.buffer > buffersReserved || out.ended || out.cancelled || out.moving || out.batch == u.batch {
		return relieved
	}
	if out.polling { // the kernel only polls for room, and has no pointer to the bytes
		u.spillSend(so)
		return true
	}
	// The kernel may read the buffer at any time until the send completes; see writeDone.
	out.moving = true
	u.cancelWrite(s)
	return true
}

// spillSend moves the rest of a send. The kernel must not have the send at that time.
func (u *uring) spillSend(so *socket) {
	out := &so.out
	out.moving = false
	rest := slices.Clone(out.data[out.done:])
	u.buffers.release(out.buffer)
	out.before += out.done
	out.buffer, out.data, out.done = 0, rest, 0
}

// spillAhead moves the bytes that a stream has received ahead.
func (u *uring) spillAhead(so *socket) (any bool) {
	before := Buffer(0)
	for id := so.ahead; id != 0; {
		at := *u.buffers.link(id)
		if id <= buffersReserved {
			data := slices.Clone(u.buffers.bytes(id)[:at.length])
			u.buffers.release(id)
			id, any = u.buffers.spilled.add(data), true
			*u.buffers.link(id) = at
			if before == 0 {
				so.ahead = id
			} else {
				u.buffers.link(before).next = id
			}
		}
		before, id = id, at.next
	}
	so.aheadLast = before
	return any
}
