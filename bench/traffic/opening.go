package traffic

import "bytes"

// message is a request: the opening, then the pattern as if it had begun with the request; nil
// without an opening.
func message(opening []byte, size int) []byte {
	if len(opening) == 0 {
		return nil
	}
	m := bytes.Clone(opening)
	for len(m) < size {
		m = append(m, stretch(uint64(len(m)), size-len(m))...)
	}
	return m
}

// request returns at most n bytes of a request from position on.
func (l *clientLoop) request(position, n int) []byte {
	if l.message != nil {
		return l.message[position : position+n]
	}
	return stretch(uint64(position), n)
}

// matchesRequest compares p with a part of a request.
func (l *originLoop) matchesRequest(p []byte, position uint64) bool {
	if l.message != nil {
		return bytes.Equal(p, l.message[position:position+uint64(len(p))])
	}
	return matches(p, position, l.spec.Verify)
}
