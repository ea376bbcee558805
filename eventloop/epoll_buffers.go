package eventloop

// buffersKept is how many free buffers a quiet loop holds on to.
const buffersKept = 4

// epollBuffers are the buffers of a loop on the epoll engine. The buffer used last is the first to
// be used again, so that no more memory is touched than there are buffers held at one time.
type epollBuffers struct {
	memory []*[BufferSize]byte // by Buffer-1
	free   []Buffer            // with memory
	bare   []Buffer            // without: it went back to the Go heap
}

// take returns a free buffer, or a new one if none is free. A connection holds at most one per
// direction.
func (b *epollBuffers) take() Buffer {
	if n := len(b.free); n > 0 {
		id := b.free[n-1]
		b.free = b.free[:n-1]
		return id
	}
	if n := len(b.bare); n > 0 {
		id := b.bare[n-1]
		b.bare = b.bare[:n-1]
		b.memory[id-1] = new([BufferSize]byte)
		return id
	}
	b.memory = append(b.memory, new([BufferSize]byte))
	return Buffer(len(b.memory))
}

func (b *epollBuffers) giveBack(id Buffer) { b.free = append(b.free, id) }

func (b *epollBuffers) bytes(id Buffer) []byte { return b.memory[id-1][:] }

// trim gives back the memory of free buffers.
func (b *epollBuffers) trim() {
	for len(b.free) > buffersKept {
		id := b.take()
		b.memory[id-1] = nil
		b.bare = append(b.bare, id)
	}
}
