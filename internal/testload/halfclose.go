package testload

import (
	"errors"
	"fmt"
	"io"
	"time"

	"l4proxy/internal/testnet"
)

// halfClosed is the origin's part in a half-closed flow. The origin is in the same process, because
// a client that has sent its FIN can no longer ask for an end.
type halfClosed struct {
	load   *Load
	flow   *flow
	stream testnet.Stream

	// Of an upload only:
	began    chan struct{} // closed when the origin has received bytes
	complete chan struct{} // closed when the client has sent everything
	ended    chan error    // the origin has had everything (nil), or why not
}

func (l *Load) halfClosed(f *flow, s testnet.Stream) *halfClosed {
	h := &halfClosed{
		load: l, flow: f, stream: s,
		began: make(chan struct{}), complete: make(chan struct{}), ended: make(chan error, 1),
	}
	l.origin.add(s, h)
	return h
}

// openHalf connects f and registers the origin's part before the origin can see the connection.
func (l *Load) openHalf(f *flow, k kind) (testnet.Conn, *halfClosed, error) {
	c, err := l.dial(f.number)
	if err != nil {
		return nil, nil, err
	}
	head := header{kind: k, stream: l.nextStream()}
	h := l.halfClosed(f, head.stream)
	if err := write(c, head.bytes(), l.spec.Patience); err != nil {
		l.origin.forget(head.stream)
		c.Close()
		return nil, nil, err
	}
	return c, h, nil
}

const halfClosedBlock = 3000

// download sends its FIN at once and then reads blocks, one at every interval.
func (l *Load) download(f *flow) error {
	c, h, err := l.openHalf(f, download)
	if err != nil {
		return err
	}
	defer c.Close()
	defer l.origin.forget(h.stream)
	if err := c.CloseWrite(); err != nil {
		return err
	}
	blocks := newChecker(c, h.stream)
	for {
		switch n, err := blocks.some(readBytes, l.spec.Patience); {
		case errors.Is(err, io.EOF) && l.ending() && blocks.offset == f.total():
			return nil
		case err != nil:
			return fmt.Errorf("after %d bytes: %w", blocks.offset, err)
		case n > 0:
			f.receiving(n)
			f.ready()
		}
	}
}

// answer is the origin's part of a download.
func (h *halfClosed) answer(c testnet.Conn) {
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		return // the client sees the end of the connection
	}
	h.load.pace(func() bool {
		offset := h.flow.total()
		h.flow.sending(halfClosedBlock)
		return write(c, h.stream.Piece(offset, halfClosedBlock), h.load.spec.Patience) == nil
	})
}

// upload reads the origin's FIN and then sends blocks, one at every interval.
func (l *Load) upload(f *flow) error {
	c, h, err := l.openHalf(f, upload)
	if err != nil {
		return err
	}
	defer c.Close()
	defer l.origin.forget(h.stream)
	if err := newChecker(c, h.stream).end(l.spec.Patience); err != nil {
		return err
	}
	l.pace(func() bool {
		offset := f.total()
		f.sending(halfClosedBlock)
		if err = write(c, h.stream.Piece(offset, halfClosedBlock), l.spec.Patience); err != nil {
			return false
		}
		select {
		case <-h.began:
			f.ready()
		case failed := <-h.ended: // while the client still sends
			err = errors.Join(failed, errors.New("the origin stopped receiving"))
			return false
		case <-time.After(l.spec.Patience):
			err = fmt.Errorf("the origin received nothing: %w", errStalled)
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	close(h.complete)
	if err := c.CloseWrite(); err != nil {
		return err
	}
	select {
	case err := <-h.ended:
		return err
	case <-time.After(l.spec.Patience):
		return fmt.Errorf("the origin has not received everything: %w", errStalled)
	}
}

// receive is the origin's part of an upload.
func (h *halfClosed) receive(c testnet.Conn) {
	if err := c.CloseWrite(); err != nil {
		h.ended <- err
		return
	}
	blocks := newChecker(c, h.stream)
	for first := true; ; first = false {
		n, err := blocks.some(readBytes, h.load.spec.Patience)
		if err != nil {
			h.ended <- h.outcome(blocks.offset, err)
			return
		}
		h.flow.receiving(n)
		if first {
			close(h.began)
		}
	}
}

// outcome is the result of an upload of which the origin has received n bytes until err.
func (h *halfClosed) outcome(n int64, err error) error {
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the origin, after %d bytes: %w", n, err)
	}
	select {
	case <-h.complete:
		if sent := h.flow.total(); n != sent {
			return fmt.Errorf("at the origin, after %d of %d bytes: %w", n, sent, io.ErrUnexpectedEOF)
		}
		return nil
	default:
		return fmt.Errorf("at the origin, after %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
}

// pace calls send at every interval until it returns false or the load is to end.
func (l *Load) pace(send func() bool) {
	for due := time.Now(); send(); {
		if due = l.next(due); !l.rest(due) {
			return
		}
	}
}
