package eventloop

import (
	"hash/crc32"
	"math/rand/v2"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the length and hash of a stream. A hash that the processor computes leaves the time to the
// loop.
type sum struct {
	n   int
	crc uint32
}

func newSum() *sum { return new(sum) }

func (s *sum) Write(p []byte) (int, error) {
	s.n += len(p)
	s.crc = crc32.Update(s.crc, castagnoli, p)
	return len(p), nil
}

func sumOf(p []byte) *sum {
	s := newSum()
	s.Write(p)
	return s
}

// randomBytes returns n bytes that are the same in each run.
func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}
