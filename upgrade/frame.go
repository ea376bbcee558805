package upgrade

import (
	"encoding/binary"
	"fmt"
)

// A kind is what a message is for. Numbers are never reused.
type kind uint16

const (
	kindHello   kind = 1 // both ways: who speaks, and in which versions
	kindChecked kind = 2 // new to old: everything that can fail beforehand has succeeded
	kindRefused kind = 3 // new to old: why the new process does not take over
	kindSockets kind = 4 // old to new: listening sockets
	kindState   kind = 5 // old to new: live state; no more sockets follow
	kindReady   kind = 6 // new to old: it listens and its loops run
	kindBatch   kind = 7 // old to new: connections
	kindAck     kind = 8 // new to old: a kindSockets, kindBatch or kindDone has arrived
	kindDone    kind = 9 // old to new: final state; nothing follows

	// On a socket that stays after the upgrade; see parent.go.
	kindSuccessor kind = 10 // to process 1: another process serves
)

// optional marks kinds that a receiver ignores if it does not know them.
const optional kind = 1 << 15

func (k kind) String() string {
	names := [...]string{"", "hello", "checked", "refused", "sockets", "state", "ready", "batch", "ack", "done", "successor"}
	if int(k) < len(names) && k != 0 {
		return names[k]
	}
	return fmt.Sprintf("message %d", uint16(k))
}

// A frame is a message: a JSON document, bytes and descriptors.
type frame struct {
	kind kind
	json []byte
	raw  []byte
	fds  []int
	// lost says that descriptors of the frame did not arrive (MSG_CTRUNC, recvmsg(2)): this process
	// has too many open. Those that did arrive have been closed.
	lost bool
}

// The header of a frame, in network byte order. It is the same in all versions of the format.
//
//	0  4 bytes  "L4UP"
//	4  uint16   kind
//	6  uint16   descriptors, which come with the header
//	8  uint32   bytes of JSON
//	12 uint32   raw bytes
const (
	magic      = "L4UP"
	headerSize = 16
)

// What a receiver accepts.
const (
	maxDescriptors = 253      // SCM_MAX_FD, unix(7)
	maxJSON        = 32 << 20 // the state of 50,000 backends
	maxRaw         = 64 << 20
)

func (f *frame) header() []byte {
	h := make([]byte, 0, headerSize)
	h = append(h, magic...)
	h = binary.BigEndian.AppendUint16(h, uint16(f.kind))
	h = binary.BigEndian.AppendUint16(h, uint16(len(f.fds)))
	h = binary.BigEndian.AppendUint32(h, uint32(len(f.json)))
	return binary.BigEndian.AppendUint32(h, uint32(len(f.raw)))
}

// lengths are what a header announces.
type lengths struct {
	kind             kind
	fds, json, bytes int
}

func parseHeader(h []byte) (lengths, error) {
	if len(h) != headerSize || string(h[:4]) != magic {
		return lengths{}, fmt.Errorf("%q is not the header of a hand-over message", h)
	}
	l := lengths{
		kind:  kind(binary.BigEndian.Uint16(h[4:])),
		fds:   int(binary.BigEndian.Uint16(h[6:])),
		json:  int(binary.BigEndian.Uint32(h[8:])),
		bytes: int(binary.BigEndian.Uint32(h[12:])),
	}
	if l.fds > maxDescriptors || l.json > maxJSON || l.bytes > maxRaw {
		return lengths{}, fmt.Errorf("%v announces %d descriptors, %d bytes of JSON and %d other bytes, more than %d, %d and %d",
			l.kind, l.fds, l.json, l.bytes, maxDescriptors, maxJSON, maxRaw)
	}
	return l, nil
}
