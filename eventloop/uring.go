package eventloop

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// What a completion of the kernel belongs to.
const (
	forIgnored = iota
	forWake
	forRead      // the operation of a socket's reading half
	forWrite     // the operation of a socket's writing half
	forReadPoll  // a poll, after which the reading half's operation is tried again
	forWritePoll // a poll, after which the writing half's operation is tried again
	forStream    // a stream of receives; see uring_stream.go
)

// userData has the purpose in its upper 8 bits and the slot in its lower 32. That of a cancel
// request is that of the operation, with a bit more; see uring_cancel.go.
func userData(purpose uint64, s Slot) uint64 { return purpose<<56 | uint64(s) }

// uring is the engine on io_uring. Its sockets are blocking, so that an operation waits inside the
// kernel. While splice(2) uses a socket, which io_uring would leave to worker threads, it is
// non-blocking, and an operation that returns EAGAIN is tried again after a poll.
type uring struct {
	common
	ring
	buffers uringBuffers
	starved []Slot // receives that wait for a buffer
	batch   uint32 // counts the waits: a send from an earlier batch that has not ended waits for its peer

	spillNext  Slot   // where spill continues
	spillAfter int64  // loop clock
	event      int    // eventfd that wakes the loop
	woken      uint64 // receives the value read from event

	streams bool // this kernel's streams of receives work; see streamsWork
}

func newIOUring(l *Loop) (engine, *table, error) {
	u := &uring{common: common{loop: l}, event: -1}
	if errno := u.setup(); errno != 0 {
		return nil, nil, reasonIOUring(errno)
	}
	if errno := u.buffers.setup(&u.ring); errno != 0 {
		u.close()
		return nil, nil, reasonIOUring(errno)
	}
	var err error
	if u.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		u.close()
		return nil, nil, fmt.Errorf("eventfd: %w", err)
	}
	return u, &u.table, nil
}

func (u *uring) socketFlags() int { return 0 }

func (u *uring) enable() error {
	if errno := u.register(registerEnableRings, nil, 0); errno != 0 {
		return reasonIOUring(errno)
	}
	if err := u.prove(); err != nil {
		return err
	}
	u.streams = u.streamsWork()
	u.listenForWakeUps()
	return allowed(IOUring, rawsys.Accept4, rawsys.ShuttingDown, rawsys.SettingOptions, rawsys.ReadingOptions)
}

// proofPatience is how long the kernel may take for a no-op.
const proofPatience = 2 * time.Second

// prove makes one round trip: a security profile may allow creating rings but forbid using them.
func (u *uring) prove() error {
	e := u.submission()
	e.opcode, e.userData = opNop, userData(forIgnored, 0)
	for deadline := time.Now().Add(proofPatience); *u.cqHead == atomic.LoadUint32(u.cqTail); {
		left := time.Until(deadline)
		if left <= 0 {
			return reasonIOUring(unix.ETIME)
		}
		if errno := u.enter(left, false); errno != 0 {
			return reasonIOUring(errno)
		}
	}
	atomic.StoreUint32(u.cqHead, *u.cqHead+1)
	return nil
}

func (u *uring) listenForWakeUps() {
	e := u.submission()
	e.opcode, e.fd, e.userData = opRead, int32(u.event), userData(forWake, 0)
	e.addr, e.len = uint64(uintptr(unsafe.Pointer(&u.woken))), 8
}

func (u *uring) wakeUp() {
	one := [8]byte{1}
	_, _ = unix.Write(u.event, one[:])
}

func (u *uring) close() {
	u.closeUnseen()
	u.unmap()
	u.buffers.unmap()
	if u.event >= 0 {
		_ = unix.Close(u.event)
	}
}

// closeUnseen closes connections that were accepted after the handler had quit. Only their
// completions have the descriptors.
func (u *uring) closeUnseen() {
	for head, tail := *u.cqHead, atomic.LoadUint32(u.cqTail); head != tail; head++ {
		e := &u.cqes[head&u.cqMask]
		if e.userData>>56 == forRead && e.res >= 0 && u.table.at(Slot(e.userData)).in.op == OpAccept {
			rawsys.Close(int(e.res))
		}
	}
}

func (u *uring) attached(Slot) {}

// quiet does not touch the buffers while completions are pending: received bytes may be in them.
func (u *uring) quiet() {
	if *u.cqHead == atomic.LoadUint32(u.cqTail) {
		u.buffers.trim()
	}
}

func (u *uring) bytes(b Buffer) []byte { return u.buffers.bytes(b) }

func (u *uring) release(b Buffer) { u.buffers.release(b) }

// taskWorkAtOnce: Linux 6.13 and newer process at most 20 events per call. Most of these events
// complete an operation.
const taskWorkAtOnce = 16

func (u *uring) wait(timeout time.Duration, raw bool) (n int, all bool, err error) {
	u.spill()
	// A receive that is fed may not need its buffer, for which others wait. So do not sleep before
	// all were fed.
	if len(u.starved) > 0 && u.feed() || u.anyReady() {
		timeout = 0
	}
	u.batch++
	if errno := u.enter(timeout, raw); errno != 0 {
		return 0, false, fmt.Errorf("io_uring_enter: %w", errno)
	}
	u.loop.tick()
	head, tail := *u.cqHead, atomic.LoadUint32(u.cqTail)
	all = u.refused == 0 && tail-head < taskWorkAtOnce
	for ; head != tail; head++ {
		e := u.cqes[head&u.cqMask]
		// Free the entry at once: the handler may cause a flush, for which the kernel may need it.
		atomic.StoreUint32(u.cqHead, head+1)
		n += u.completed(&e)
	}
	n += u.deliver()
	return n, all && !u.anyReady(), nil
}
