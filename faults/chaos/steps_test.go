package chaos

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// write runs the steps, and reports whether it reached the last.
func (s *side) write() bool {
	var sent int64
	for i, step := range s.part.steps {
		s.change(func() { s.step = i })
		ok, err := true, error(nil)
		switch step.op {
		case opSend:
			sent, err = s.send(sent, step)
		case opUrgent:
			if err = s.urgent(sent); err == nil {
				sent++
			}
		case opPause:
			<-time.After(step.pause)
		case opAwait:
			ok = s.wait(func() bool { return s.seen.received >= step.n || s.seen.in != endNone }) && s.received() >= step.n
		case opAwaitEnd:
			ok = s.wait(func() bool { return s.seen.in != endNone })
		}
		if err != nil || !ok {
			s.change(func() {
				s.step = math.MaxInt // the reader no longer holds back
				if s.seen.out = endOf(err); s.seen.out == endFailed {
					s.seen.failure = err.Error()
				}
			})
			return false
		}
	}
	s.change(func() { s.step = math.MaxInt })
	return true
}

func (s *side) received() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.received
}

// send writes the bytes of a step and returns the number of bytes sent so far.
func (s *side) send(sent int64, step step) (int64, error) {
	for rest := step.n; rest > 0; {
		n, err := s.conn.Write(s.out.Piece(sent, int(min(rest, int64(step.size)))))
		sent += int64(n)
		rest -= int64(n)
		s.change(func() { s.seen.sent = sent })
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// urgent sends one byte with MSG_OOB (tcp(7); unix(7), where a kernel may be built without it).
func (s *side) urgent(sent int64) error {
	var err error
	flags := unix.MSG_OOB | unix.MSG_NOSIGNAL
	failed := s.raw.Write(func(fd uintptr) bool {
		if err = unix.Sendto(int(fd), s.out.Piece(sent, 1), flags, nil); err == unix.EOPNOTSUPP {
			flags = unix.MSG_NOSIGNAL
			err = unix.Sendto(int(fd), s.out.Piece(sent, 1), flags, nil)
		}
		return err != unix.EAGAIN
	})
	if failed != nil {
		return failed
	}
	if err == nil {
		s.change(func() { s.seen.sent = sent + 1 })
	}
	return err
}

// finish ends the part. It returns once the side may be closed.
func (s *side) finish() {
	ended := func() bool { return s.seen.in != endNone }
	switch s.part.ending {
	case finFirst:
		_ = s.conn.CloseWrite()
		s.wait(ended)
	case finLast:
		s.wait(ended)
	case closeUnread:
		s.wait(func() bool { return s.seen.received >= s.part.await || ended() })
		s.poll(func(fd int) bool {
			n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
			return n > 0 || err != nil || isClosed(fd)
		})
	case resetNow:
		s.reset()
	case resetLate:
		_ = s.conn.CloseWrite()
		s.wait(func() bool { return s.seen.received >= s.part.await || ended() })
		s.reset()
	case watch:
		s.wait(ended)
		if s.poll(isClosed) {
			s.change(func() { s.seen.late = s.seen.in == endFIN })
		}
	}
}

// poll checks every millisecond until cond holds for the descriptor. It reports false if the side
// is closed first.
func (s *side) poll(cond func(fd int) bool) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		holds := false
		if s.raw.Control(func(fd uintptr) { holds = cond(int(fd)) }) != nil {
			return false
		}
		if holds {
			return true
		}
		<-ticker.C
	}
}

// isClosed reports whether both directions of a TCP connection have ended, as after a reset.
func isClosed(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpClose
}

// tcpClose is TCP_CLOSE of the kernel's tcp_states.h.
const tcpClose = 7
