package traffic

import (
	"bytes"
	"math/rand/v2"
)

const (
	// period is the length after which the pattern repeats. It is a prime, so that the loss of
	// whole buffers of any size shifts it.
	period = 65521
	// largestStretch is the longest piece of the pattern: what one system call sends.
	largestStretch = 128 << 10
)

var pattern = makePattern()

func makePattern() []byte {
	p := make([]byte, period+largestStretch)
	// ChaCha8 never fails to fill a slice.
	_, _ = rand.NewChaCha8([32]byte{}).Read(p[:period])
	for filled := period; filled < len(p); {
		filled += copy(p[filled:], p[:filled])
	}
	return p
}

// stretch returns at most n bytes of the pattern from position on.
func stretch(position uint64, n int) []byte {
	at := position % period
	return pattern[at : at+uint64(min(n, largestStretch))]
}

// matches reports whether p is the pattern at position: by its first and last byte, or by all
// bytes.
func matches(p []byte, position uint64, all bool) bool {
	if len(p) == 0 {
		return true
	}
	if !all {
		last := len(p) - 1
		return p[0] == pattern[position%period] && p[last] == pattern[(position+uint64(last))%period]
	}
	for len(p) > 0 {
		want := stretch(position, len(p))
		if !bytes.Equal(p[:len(want)], want) {
			return false
		}
		p, position = p[len(want):], position+uint64(len(want))
	}
	return true
}
