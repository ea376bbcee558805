package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// end is how a stream ended for its reader or writer.
type end uint8

const (
	endNone   end = iota // the writer could write everything
	endFIN               // the end of the stream
	endReset             // ECONNRESET or EPIPE
	endLeft              // the side itself has closed
	endFailed            // another error, or wrong bytes
)

func (e end) String() string {
	return [...]string{"nothing", "the end of the stream", "a reset", "its own close", "a failure"}[e]
}

func endOf(err error) end {
	switch {
	case err == nil:
		return endNone
	case errors.Is(err, io.EOF):
		return endFIN
	case testnet.IsReset(err):
		return endReset
	case errors.Is(err, net.ErrClosed):
		return endLeft
	}
	return endFailed
}

// seen is what one side saw of a connection.
type seen struct {
	absent         bool // the connection never came to the backend
	received, sent int64
	in, out        end
	late           bool   // a reset was noticed after the end of the stream
	failure        string // what makes an endFailed
	step           string // what it was doing when it was stopped because nothing moved
}

func (s seen) String() string {
	if s.absent {
		return "never saw the connection"
	}
	text := fmt.Sprintf("received %d bytes and %v", s.received, s.in)
	if s.late {
		text += " and a reset"
	}
	text += fmt.Sprintf(", sent %d", s.sent)
	if s.out != endNone {
		text += fmt.Sprintf(" and then saw %v", s.out)
	}
	if s.failure != "" {
		text += ": " + s.failure
	}
	if s.step != "" {
		text += "; stuck: " + s.step
	}
	return text
}

// side plays one part on a connection.
type side struct {
	conn    testnet.Conn
	raw     syscall.RawConn
	part    *part
	in, out testnet.Stream
	moved   *atomic.Int64 // counts events on either side

	mu   sync.Mutex
	turn sync.Cond // the fields below have changed
	seen seen
	step int  // of the writer
	left bool // it has closed
}

func newSide(conn testnet.Conn, p *part, in, out testnet.Stream, moved *atomic.Int64) (*side, error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &side{conn: conn, raw: raw, part: p, in: in, out: out, moved: moved}
	s.turn.L = &s.mu
	keepInLine(raw) // a unix socket does not inherit it from the one that listens
	if p.buffer > 0 {
		_ = conn.SetReadBuffer(p.buffer)
		_ = conn.SetWriteBuffer(p.buffer)
	}
	return s, nil
}

// run plays the part to its end.
func (s *side) run() {
	var reader sync.WaitGroup
	reader.Go(s.read)
	if s.write() {
		s.finish()
	} else {
		s.wait(func() bool { return s.seen.in != endNone })
	}
	s.close()
	reader.Wait()
}

// change changes the state that a side's goroutines share.
func (s *side) change(f func()) {
	s.moved.Add(1)
	s.mu.Lock()
	f()
	s.turn.Broadcast()
	s.mu.Unlock()
}

// wait waits until cond holds or the side has left, and reports whether it holds.
func (s *side) wait(cond func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !cond() && !s.left {
		s.turn.Wait()
	}
	return cond()
}

func (s *side) close() {
	s.change(func() { s.left = true })
	_ = s.conn.Close()
}

// abandon ends a side on which nothing moves any more.
func (s *side) abandon() {
	s.mu.Lock()
	if s.seen.step = "after the last step"; s.step < len(s.part.steps) {
		s.seen.step = fmt.Sprintf("step %d, %v", s.step, s.part.steps[s.step])
	}
	s.mu.Unlock()
	var unread, unsent int
	_ = s.raw.Control(func(fd uintptr) {
		unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		unsent, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	s.seen.step += fmt.Sprintf(", with %d bytes unread and %d unacknowledged", unread, unsent)
	s.reset()
}

func (s *side) reset() {
	if c, ok := s.conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	s.close()
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// read reads and compares the stream, and notes how it ends.
func (s *side) read() {
	r := s.part.reading
	buffer := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	var got int64
	for i := 1; ; i++ {
		room := s.room(got)
		if room == 0 {
			s.change(func() { s.seen.in = endLeft })
			return
		}
		n, err := s.conn.Read(buffer[:min(int64(r.size), room)])
		if want := s.in.Piece(got, n); !bytes.Equal(buffer[:n], want) {
			s.change(func() { s.seen.in, s.seen.failure = endFailed, difference(s.in, got, buffer[:n], want) })
			return
		}
		got += int64(n)
		s.change(func() {
			if s.seen.received = got; err != nil {
				s.seen.in = endOf(err)
				if s.seen.in == endFailed {
					s.seen.failure = err.Error()
				}
			}
		})
		if err != nil {
			return
		}
		if r.every > 0 && i%r.every == 0 {
			<-time.After(r.pause)
		}
	}
}

// room waits until the reader may read, and returns how many bytes; 0 when the side has left.
func (s *side) room(got int64) int64 {
	limit := int64(math.MaxInt64)
	hold := s.part.reading.holdUntil
	ok := s.wait(func() bool {
		limit = math.MaxInt64
		if s.part.ending == closeUnread {
			limit = s.part.await
		}
		if s.step < hold {
			limit = min(limit, s.part.reading.holdAt)
		}
		return got < limit
	})
	if !ok {
		return 0
	}
	return limit - got
}

// difference says where received bytes are wrong and, if they belong to another offset, to which.
func difference(stream testnet.Stream, offset int64, got, want []byte) string {
	i := 0
	for got[i] == want[i] {
		i++
	}
	text := fmt.Sprintf("wrong bytes from offset %d on", offset+int64(i))
	rest := got[i:min(i+32, len(got))]
	for shift := int64(-1 << 18); len(rest) > 4 && shift < 1<<18; shift++ {
		if at := offset + int64(i) + shift; at >= 0 && bytes.Equal(stream.Piece(at, len(rest)), rest) {
			return fmt.Sprintf("%s: those of offset %d", text, at)
		}
	}
	return text
}
