package eventloop

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// buffersReserved is the most buffers a loop can have: address space that costs nothing until it is touched.
	buffersReserved = 16384
	// buffersProvided is how many the kernel is given at first. It takes them first in, first out, so every buffer
	// it was given is touched before long: few, and more only when they run out.
	buffersProvided = 32
	bufferGroup     = 0
)

// uringBuffers is the memory that receives are made into: a ring of buffers from which the kernel takes one at the
// moment when bytes have come (io_uring_register(2), IORING_REGISTER_PBUF_RING). An idle socket holds none.
type uringBuffers struct {
	memory  []byte
	ringMap []byte
	ring    []providedBuffer
	tail    uint16
	// next and length chain buffers that were received before they were asked for, by id.
	next     [buffersReserved]Buffer
	length   [buffersReserved]uint16
	provided int // buffers in circulation: in the ring, or with the handler
	out      int // of these, with the handler
}

func (b *uringBuffers) setup(r *ring) unix.Errno {
	const protection, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_ANON | unix.MAP_PRIVATE | unix.MAP_NORESERVE
	var err error
	if b.memory, err = unix.Mmap(-1, 0, buffersReserved*BufferSize, protection, flags); err != nil {
		return toErrno(err)
	}
	if b.ringMap, err = unix.Mmap(-1, 0, buffersReserved*int(unsafe.Sizeof(providedBuffer{})), protection, flags); err != nil {
		return toErrno(err)
	}
	b.ring = unsafe.Slice((*providedBuffer)(unsafe.Pointer(&b.ringMap[0])), buffersReserved)
	registration := providedRing{
		addr:    uint64(uintptr(unsafe.Pointer(&b.ringMap[0]))),
		entries: buffersReserved,
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
	e := &b.ring[b.tail%buffersReserved]
	e.addr = uint64(uintptr(unsafe.Pointer(&b.memory[int(id)*BufferSize])))
	e.len = BufferSize
	e.bid = id
	b.tail++
	// The tail is 16 bits at an address that is not 4-byte aligned; it is published together with the buffer id of
	// the first entry, which stands beside it.
	first := &b.ring[0]
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&first.bid)), uint32(first.bid)|uint32(b.tail)<<16)
}

// provide adds up to n buffers that were not in circulation yet, and reports whether there were any.
func (b *uringBuffers) provide(n int) bool {
	end := min(b.provided+n, buffersReserved)
	if b.provided == end {
		return false
	}
	for ; b.provided < end; b.provided++ {
		b.give(uint16(b.provided))
	}
	return true
}

// taken notes that the kernel has handed out a buffer.
func (b *uringBuffers) taken(flags uint32) Buffer {
	b.out++
	return Buffer(flags>>cqeBufferShift) + 1
}

// inRing is how many buffers the kernel has, once all its completions were looked at.
func (b *uringBuffers) inRing() int { return b.provided - b.out }

func (b *uringBuffers) release(id Buffer) {
	b.out--
	b.give(uint16(id - 1))
}

func (b *uringBuffers) bytes(id Buffer) []byte {
	start := int(id-1) * BufferSize
	return b.memory[start : start+BufferSize : start+BufferSize]
}

// trim gives the pages of unused buffers back to the system. The buffers stay in the ring: their addresses stay
// valid, and the kernel takes from the ring only while this thread is in io_uring_enter (DEFER_TASKRUN).
func (b *uringBuffers) trim() {
	if b.out == 0 {
		_ = unix.Madvise(b.memory[:b.provided*BufferSize], unix.MADV_DONTNEED)
	}
}
