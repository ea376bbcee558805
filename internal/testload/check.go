package testload

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"l4proxy/internal/testnet"
)

// checker reads a stream and compares every byte.
type checker struct {
	c      testnet.Conn
	stream testnet.Stream
	offset int64
	p      []byte
}

// readBytes is the most that a checker reads at a time.
const readBytes = 64 << 10

func newChecker(c testnet.Conn, s testnet.Stream) *checker {
	return &checker{c: c, stream: s, p: make([]byte, readBytes)}
}

// some reads what there is, at most n bytes, within the patience. io.EOF is the end of the stream.
func (k *checker) some(n int, patience time.Duration) (int, error) {
	if err := k.c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	got, err := k.c.Read(k.p[:min(n, len(k.p))])
	if want := k.stream.Piece(k.offset, got); !bytes.Equal(k.p[:got], want) {
		return 0, fmt.Errorf("%w after %d bytes of stream %d", errCorrupt, k.offset, k.stream)
	}
	k.offset += int64(got)
	return got, err
}

// exactly reads n bytes.
func (k *checker) exactly(n int, patience time.Duration) error {
	for n > 0 {
		got, err := k.some(n, patience)
		n -= got
		if err != nil && n > 0 {
			return fmt.Errorf("after %d bytes: %w", k.offset, err)
		}
	}
	return nil
}

// end reads the FIN, which must follow at once.
func (k *checker) end(patience time.Duration) error {
	switch got, err := k.some(1, patience); {
	case got > 0:
		return fmt.Errorf("%w: more than the %d bytes that were sent", errCorrupt, k.offset-int64(got))
	case err == io.EOF:
		return nil
	default:
		return fmt.Errorf("waiting for the FIN after %d bytes: %w", k.offset, err)
	}
}

// write sends p within the patience.
func write(c testnet.Conn, p []byte, patience time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Write(p)
	return err
}
