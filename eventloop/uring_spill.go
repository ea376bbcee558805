package eventloop

import (
	"slices"
	"time"
)

// A peer that reads nothing keeps the bytes on their way to it in the loop. In a shared buffer they would take it from
// all other connections, and enough such peers would stop the loop. So when shared buffers run short, what sends that
// wait hold, and what streams have brought ahead, moves ("spills") to memory of its own, as much as there are bytes, and
// the buffers are free again.

// A spilledBuffer is memory of its own for bytes that a shared buffer held.
type spilledBuffer struct {
	data []byte
	link link
}

// spilledBuffers are those in use. Their names follow those of the shared buffers.
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
	if len(s.free) == len(s.all) { // nothing is left of a shortage
		s.all, s.free = nil, nil
	}
}

const (
	// spillsAtOnce bounds how many sockets are relieved between two batches.
	spillsAtOnce = 1024
	// spillPause is the pause after a look at all sockets that has found nothing to relieve.
	spillPause = 10 * time.Millisecond
)

// spill relieves sockets of the shared buffers that they hold while nothing moves, if those run short. It goes round
// the sockets, on from where it stopped before.
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

// relieve takes the shared buffers of one socket, and reports whether it has any that do not move.
func (u *uring) relieve(s Slot) bool {
	so := u.table.at(s)
	relieved := u.spillAhead(so)
	out := &so.out
	if out.buffer == 0 || out.buffer > buffersReserved || out.ended || out.cancelled || out.moving || out.batch == u.batch {
		return relieved
	}
	if out.polling { // the kernel waits for room, and does not know the bytes
		u.spillSend(so)
		return true
	}
	// The kernel may read the buffer at any time until it says how the send has ended; see writeDone.
	out.moving = true
	u.cancelWrite(s)
	return true
}

// spillSend moves what is left of a send, which the kernel does not know at the moment.
func (u *uring) spillSend(so *socket) {
	out := &so.out
	out.moving = false
	rest := slices.Clone(out.data[out.done:])
	u.buffers.release(out.buffer)
	out.before += out.done
	out.buffer, out.data, out.done = 0, rest, 0
}

// spillAhead moves what a stream has brought ahead.
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
