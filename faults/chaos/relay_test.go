package chaos

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// relay is a plain proxy in front of a slot, with a goroutine per direction and an optional flaw
// that the judge has to find.
type relay struct {
	flaw flaw
	all  sync.WaitGroup
}

type flaw string

const (
	noFlaw      flaw = "none"
	dropsByte   flaw = "drops a byte"
	doublesByte flaw = "doubles a byte"
	losesRest   flaw = "loses what comes after 5000 bytes"
	endsResets  flaw = "makes an end of a reset"
	resetsEnds  flaw = "makes a reset of an end"
	losesEnds   flaw = "loses the end"
)

// startRelay runs a relay for a slot. It ends with the test, after all its connections.
func startRelay(t *testing.T, s *slot, flaw flaw) {
	t.Helper()
	r := &relay{flaw: flaw}
	dir := socketDir(t)
	t.Cleanup(r.all.Wait)
	for back := range families {
		for front := range families {
			config := net.ListenConfig{Control: inline}
			config.SetMultipathTCP(false)
			l, err := config.Listen(context.Background(), front.network(), front.address(filepath.Join(dir, s.name+back.String())))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			s.fronts[back][front] = l.Addr().String()
			to := s.backends[back].Addr().String()
			r.all.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					r.all.Go(func() { r.serve(c, back, to) })
				}
			})
		}
	}
}

func (r *relay) serve(c net.Conn, back family, to string) {
	b, err := dial(back, to)
	if err != nil {
		c.Close()
		return
	}
	if raw, err := c.(syscall.Conn).SyscallConn(); err == nil {
		keepInLine(raw)
	}
	ends := [2]*relayEnd{{Conn: c.(testnet.Conn)}, {Conn: b.(testnet.Conn)}}
	var both sync.WaitGroup
	var reset [2]bool
	for i := range ends {
		both.Go(func() { reset[i] = r.pass(ends[1-i], ends[i]) })
	}
	both.Wait()
	for _, e := range ends {
		if reset[0] || reset[1] || r.flaw == resetsEnds {
			if r.flaw != endsResets {
				e.reset()
			}
		}
		e.Close()
	}
}

// relayEnd is one end of a relayed connection.
type relayEnd struct {
	testnet.Conn
	shut   atomic.Bool // its stream was ended
	broken atomic.Bool // a write has failed
}

func (e *relayEnd) fd(f func(fd int)) {
	if raw, err := e.Conn.(syscall.Conn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// reset resets a TCP connection once the sent bytes have arrived; an earlier reset would discard
// them.
func (e *relayEnd) reset() {
	c, ok := e.Conn.(*net.TCPConn)
	if !ok {
		return
	}
	testnet.Within(2*time.Second, func() bool {
		over := true
		e.fd(func(fd int) {
			n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
			over = n == 0 || err != nil || isClosed(fd)
		})
		return over
	})
	_ = c.SetLinger(0)
}

// pass forwards one stream, and reports whether it ended with a reset. A failed write does not end
// it: bytes that the peer sent before it left still have to be read.
func (r *relay) pass(to, from *relayEnd) bool {
	buffer := make([]byte, 64<<10)
	offset, failed := 0, false
	for {
		n, err := from.Read(buffer)
		data := buffer[:n]
		if at := 999 - offset%1000; at < n {
			switch r.flaw {
			case dropsByte:
				data = append(append([]byte(nil), data[:at]...), data[at+1:]...)
			case doublesByte:
				data = append(append([]byte(nil), data[:at+1]...), data[at:]...)
			}
		}
		if offset += n; r.flaw == losesRest && offset > 5000 {
			data = nil
		}
		if !failed && len(data) > 0 {
			_, writeErr := to.Write(data)
			failed = writeErr != nil
			to.broken.Store(failed)
		}
		if err == nil {
			continue
		}
		// After a write that has met the reset, a read sees an end. So it does after both streams
		// have ended.
		closed := false
		from.fd(func(fd int) { closed = isClosed(fd) && !from.shut.Load() })
		closed = closed || from.broken.Load()
		switch {
		case r.flaw == losesEnds:
			<-time.After(3 * impatience)
		case endOf(err) == endFIN && !closed && r.flaw != resetsEnds, r.flaw == endsResets:
			to.shut.Store(true)
			_ = to.CloseWrite()
		default:
			to.abort(from)
			return true
		}
		return failed
	}
}

// abort ends the other direction too after a reset of this one.
func (e *relayEnd) abort(from *relayEnd) {
	_ = from.SetDeadline(time.Now())
	_ = e.SetReadDeadline(time.Now())
}
