package testload

import (
	"errors"
	"fmt"
	"io"
	"time"

	"l4proxy/internal/testnet"
)

const (
	pieceBytes = 256 << 10 // sent at once: more than a pipe of the proxy holds
	slowBytes  = 256 << 10 // that a slow reader takes in one slowPause
	slowPause  = 100 * time.Millisecond
)

// bulk sends the stream and compares the echo, which comes at the same time.
func (l *Load) bulk(f *flow, slow bool) error {
	c, s, err := l.open(f, exchange)
	if err != nil {
		return err
	}
	written := make(chan error, 1)
	go func() { written <- l.sendBulk(f, c, s, slow) }()

	failed := l.readBulk(f, newChecker(c, s), slow)
	c.Close() // a writer that is stuck ends
	// The reader's failure comes first: it explains why the writer fails.
	err = <-written
	if failed != nil {
		return failed
	}
	return err
}

// sendBulk sends until the load is to end, and then a FIN.
func (l *Load) sendBulk(f *flow, c testnet.Conn, s testnet.Stream, slow bool) error {
	from := time.Now()
	for !l.ending() {
		offset := f.total()
		f.sending(pieceBytes)
		if err := write(c, s.Piece(offset, pieceBytes), l.spec.Patience); err != nil {
			return err
		}
		if rate := l.spec.BulkRate; rate > 0 && !slow {
			l.rest(from.Add(time.Duration(float64(f.total()) / float64(rate) * float64(time.Second))))
		}
	}
	return c.CloseWrite()
}

// readBulk reads to the end of the stream, which must have all bytes that were sent.
func (l *Load) readBulk(f *flow, echo *checker, slow bool) error {
	unread := slowBytes
	for {
		n, err := echo.some(unread, l.spec.Patience)
		if errors.Is(err, io.EOF) {
			if sent := f.total(); echo.offset != sent || !l.ending() {
				return fmt.Errorf("after %d of %d bytes: %w", echo.offset, sent, io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", echo.offset, err)
		}
		f.receiving(n)
		f.ready()
		if !slow {
			continue
		}
		if unread -= n; unread <= 0 {
			l.rest(time.Now().Add(slowPause))
			f.paused()
			unread = slowBytes
		}
	}
}
