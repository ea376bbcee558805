package chaos

import (
	"fmt"
	"strings"
	"time"
)

// The two sides of a connection.
const (
	client = 0
	server = 1
)

var sideNames = [2]string{"client", "backend"}

// family is the kind of socket that a side has.
type family uint8

const (
	tcp4 family = iota
	tcp6
	local // a unix socket
	families
)

func (f family) String() string { return [...]string{"tcp4", "tcp6", "unix"}[f] }

func (f family) network() string { return [...]string{"tcp", "tcp", "unix"}[f] }

// A script is what both sides of one connection do. Steps wait for bytes, not for time, so the
// outcome does not depend on how long each step takes.
type script struct {
	seed, id uint64
	plot     string
	families [2]family
	parts    [2]part
}

// part is what one side does: it runs its steps, reads in parallel, and finally ends as ending
// says.
type part struct {
	steps   []step
	reading reading
	ending  ending
	buffer  int   // SO_SNDBUF and SO_RCVBUF; 0 leaves them to the kernel
	await   int64 // bytes that have to be received before a resetLate
}

type step struct {
	op    op
	n     int64         // bytes to send, or to have received since the beginning
	size  int           // of a write
	pause time.Duration // opPause
}

type op uint8

const (
	opSend     op = iota
	opUrgent      // one byte with MSG_OOB; it is part of the stream, as the reader has SO_OOBINLINE
	opPause       // only changes the timing
	opAwait       // waits until n bytes have been received
	opAwaitEnd    // waits until the other side's stream has ended
)

func (s step) String() string {
	switch s.op {
	case opSend:
		return fmt.Sprintf("send %d in writes of %d", s.n, s.size)
	case opUrgent:
		return "send an urgent byte"
	case opPause:
		return fmt.Sprintf("pause %v", s.pause)
	case opAwait:
		return fmt.Sprintf("wait until %d received", s.n)
	default:
		return "wait until the other's stream has ended"
	}
}

// reading is how a side reads.
type reading struct {
	size  int           // of a read
	every int           // reads after which it pauses; 0 never does
	pause time.Duration // how long
	// holdAt is the number of bytes after which it reads nothing until it has reached step
	// holdUntil.
	holdAt    int64
	holdUntil int // 0: it never holds
}

func (r reading) String() string {
	s := fmt.Sprintf("reads of %d", r.size)
	if r.every > 0 {
		s += fmt.Sprintf(", a pause of %v after %d", r.pause, r.every)
	}
	if r.holdUntil > 0 {
		s += fmt.Sprintf(", none beyond %d bytes before step %d", r.holdAt, r.holdUntil)
	}
	return s
}

// ending is what a side does after its last step.
type ending uint8

const (
	finFirst    ending = iota // ends its stream, reads the other's to the end, closes
	finLast                   // reads the other's stream to the end, closes
	closeDone                 // closes when it has received every byte of the other side
	closeEarly                // closes at once; the other side may still be sending
	closeUnread               // closes with bytes unread, which sends a reset, on unix sockets too
	resetNow                  // resets (SO_LINGER 0)
	resetLate                 // ends its stream, waits for bytes of the other side, resets
	watch                     // the other side of resetLate: waits for the reset that follows the end of the stream
)

func (e ending) String() string {
	return [...]string{
		"end the stream, read to the end, close", "read to the end, close", "close with all received", "close at once",
		"close with bytes unread", "reset", "end the stream, reset later", "wait for a reset after the end",
	}[e]
}

// aborts reports whether a side with this ending may leave before it has received all.
func (e ending) aborts() bool { return e >= closeEarly && e != watch }

// total is the number of bytes that a side sends if nothing stops it.
func (p *part) total() (n int64) {
	for _, s := range p.steps {
		switch s.op {
		case opSend:
			n += s.n
		case opUrgent:
			n++
		}
	}
	return n
}

func (p *part) has(which op) bool {
	for _, s := range p.steps {
		if s.op == which {
			return true
		}
	}
	return false
}

func (s *script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "script %d of seed %d, %s\n", s.id, s.seed, s.plot)
	for side := range 2 {
		p := &s.parts[side]
		fmt.Fprintf(&b, "  %s on %v", sideNames[side], s.families[side])
		if p.buffer > 0 {
			fmt.Fprintf(&b, " with buffers of %d", p.buffer)
		}
		fmt.Fprintf(&b, ", %v\n", p.reading)
		for i, step := range p.steps {
			fmt.Fprintf(&b, "    %d %v\n", i, step)
		}
		fmt.Fprintf(&b, "    %d %v", len(p.steps), p.ending)
		if p.ending == resetLate {
			fmt.Fprintf(&b, ", when %d received", p.await)
		}
		if p.ending == closeUnread {
			fmt.Fprintf(&b, ", after %d", p.await)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
