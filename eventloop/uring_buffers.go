package eventloop

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// buffersReserved is the most shared buffers that a loop can have. Address space costs nothing
	// until it is touched.
	buffersReserved = 16384
	// buffersProvided is how many the kernel is given at first. It uses them first in, first out,
	// so all of them are soon in use: start with few, and add more only when they run out.
	buffersProvided = 32
	// buffersInRing is the most buffers that the kernel can hold at a time. The ring counts as
	// locked memory (RLIMIT_MEMLOCK): 16 bytes per buffer.
	buffersInRing = 4096
	bufferGroup   = 0
)

// uringBuffers is the memory for receives: a ring of buffers from which the kernel takes one when
// bytes have come (io_uring_register(2), IORING_REGISTER_PBUF_RING). An idle socket holds none.
type uringBuffers struct {
	memory  []byte
	ringMap []byte
	ring    []providedBuffer
	tail    uint16
	// chain links buffers that were received before they were asked for, by id.
	chain    [buffersReserved]link
	spare    []uint16 // in circulation, but neither in the ring, which was full, nor in use
	provided int      // buffers in circulation
	inRing   int      // of these, held by the kernel, once all its completions are processed
	out      int      // of these, in use by the handler or the engine
	most     int      // buffersReserved; fewer in tests
	spilled  spilledBuffers
}

// link is a buffer's position in a chain.
type link struct {
	next   Buffer
	length uint32 // in bytes, as received
}

func (b *uringBuffers) setup(r *ring) unix.Errno {
	const protection, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_ANON | unix.MAP_PRIVATE | unix.MAP_NORESERVE
	b.most = buffersReserved
	var err error
	if b.memory, err = unix.Mmap(-1, 0, buffersReserved*BufferSize, protection, flags); err != nil {
		return toErrno(err)
	}
	if b.ringMap, err = unix.Mmap(-1, 0, buffersInRing*int(unsafe.Sizeof(providedBuffer{})), protection, flags); err != nil {
		return toErrno(err)
	}
	b.ring = unsafe.Slice((*providedBuffer)(unsafe.Pointer(&b.ringMap[0])), buffersInRing)
	registration := providedRing{
		addr:    uint64(uintptr(unsafe.Pointer(&b.ringMap[0]))),
		entries: buffersInRing,
		bgid:    bufferGroup,
	}
	if errno := r.register(registerPbufRing, unsafe.Pointer(&registration), 1); errno != 0 {
		return errno
	}
	b.provide(buffersProvided)
	return 0
}

func (b *uringBuffers) unmap() {
	if b.memory != nil {
		_ = unix.Munmap(b.memory)
	}
	if b.ringMap != nil {
		_ = unix.Munmap(b.ringMap)
	}
}

// give puts buffer id (counted from 0) into the ring.
func (b *uringBuffers) give(id uint16) {
	e := &b.ring[b.tail%buffersInRing]
	e.addr = uint64(uintptr(unsafe.Pointer(&b.memory[int(id)*BufferSize])))
	e.len = BufferSize
	e.bid = id
	b.tail++
	b.inRing++
	// The tail has 16 bits at an address that is not 4-byte aligned. It is published together with
	// the buffer id of the first entry, which is beside it.
	first := &b.ring[0]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&first.bid)), uint32(first.bid)|uint32(b.tail)<<16)
}

// provide gives the kernel up to n more buffers, and reports whether any were left.
func (b *uringBuffers) provide(n int) bool {
	n = min(n, buffersInRing-b.inRing, len(b.spare)+b.most-b.provided)
	if n <= 0 {
		return false
	}
	for range n {
		if last := len(b.spare) - 1; last >= 0 {
			b.give(b.spare[last])
			b.spare = b.spare[:last]
			continue
		}
		b.give(uint16(b.provided))
		b.provided++
	}
	return true
}

// taken notes that the kernel has handed out a buffer.
func (b *uringBuffers) taken(flags uint32) Buffer {
	b.out++
	b.inRing--
	return Buffer(flags>>cqeBufferShift) + 1
}

// short reports whether few buffers are left for sockets that hold none.
func (b *uringBuffers) short() bool { return b.out > b.most-b.most/8 }

func (b *uringBuffers) release(id Buffer) {
	if id > buffersReserved {
		b.spilled.release(id)
		return
	}
	b.out--
	if b.inRing < buffersInRing {
		b.give(uint16(id - 1))
	} else {
		b.spare = append(b.spare, uint16(id-1))
	}
}

func (b *uringBuffers) bytes(id Buffer) []byte {
	if id > buffersReserved {
		return b.spilled.at(id).data
	}
	start := int(id-1) * BufferSize
	return b.memory[start : start+BufferSize : start+BufferSize]
}

// link returns the buffer's position in a chain.
func (b *uringBuffers) link(id Buffer) *link {
	if id > buffersReserved {
		return &b.spilled.at(id).link
	}
	return &b.chain[id-1]
}

// trim gives the pages of unused buffers back to the system. The buffers stay in the ring: their
// addresses stay valid, and the kernel takes from the ring only while this thread is in
// io_uring_enter (DEFER_TASKRUN).
func (b *uringBuffers) trim() {
	if b.out == 0 {
		_ = unix.Madvise(b.memory[:b.provided*BufferSize], unix.MADV_DONTNEED)
	}
}
