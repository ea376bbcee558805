package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
)

const (
	// period is the number of bytes after which a stream repeats. It is a prime, so it is no
	// multiple of a buffer, pipe or segment size.
	period = 1<<20 - 3
	// longest is the maximum size of one piece.
	longest = 1 << 20
)

var block = sync.OnceValue(func() []byte {
	p := make([]byte, period+longest)
	rand.NewChaCha8([32]byte{'l', '4'}).Read(p[:period])
	for i := period; i < len(p); i += period { // the longest piece is longer than a period
		copy(p[i:], p[:period])
	}
	return p
})

// A Stream is an endless sequence of bytes. Streams with different seeds differ. The reader can
// compute every byte, so it detects lost, duplicated, changed and foreign bytes, with their offset.
type Stream uint64

// Piece returns n bytes (at most 1 MiB) of the stream from offset on. They must not be changed.
func (s Stream) Piece(offset int64, n int) []byte {
	start := (uint64(s)*7919 + uint64(offset)) % period
	return block()[start : start+uint64(n)]
}

// Send writes the first n bytes of the stream, in pieces of the given sizes in turn. It yields to
// other goroutines now and then, so that the reader receives pieces of varying sizes.
func (s Stream) Send(w io.Writer, n int64, sizes ...int) error {
	for sent, i := int64(0), 0; sent < n; i++ {
		size := int(min(int64(sizes[i%len(sizes)]), n-sent))
		if _, err := w.Write(s.Piece(sent, size)); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", sent, n, err)
		}
		sent += int64(size)
		if i%7 == 0 {
			runtime.Gosched()
		}
	}
	return nil
}

// Check reads r to its end, in pieces of at most the given sizes in turn, and compares it with the
// stream. It returns the number of bytes read. The error is nil if r ended with EOF.
func (s Stream) Check(r io.Reader, sizes ...int) (n int64, err error) {
	p := make([]byte, maxOf(sizes))
	for i := 0; ; i++ {
		got, err := r.Read(p[:sizes[i%len(sizes)]])
		if want := s.Piece(n, got); !bytes.Equal(p[:got], want) {
			return n, s.difference(n, p[:got], want)
		}
		n += int64(got)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if i%5 == 0 {
			runtime.Gosched()
		}
	}
}

// CheckExactly is Check for a stream that must have exactly n bytes.
func (s Stream) CheckExactly(r io.Reader, n int64, sizes ...int) error {
	got, err := s.Check(r, sizes...)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
	}
	if got != n {
		return fmt.Errorf("the stream ended after %d of %d bytes", got, n)
	}
	return nil
}

func (s Stream) difference(offset int64, got, want []byte) error {
	i := 0
	for got[i] == want[i] {
		i++
	}
	return fmt.Errorf("stream %d differs at byte %d: got %x, want %x", s, offset+int64(i),
		got[i:min(i+16, len(got))], want[i:min(i+16, len(want))])
}

func maxOf(sizes []int) int {
	most := 0
	for _, size := range sizes {
		most = max(most, size)
	}
	return most
}
