package traffic

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// signature begins a header of version 2 of the PROXY protocol, which is of fixedHeader bytes and
// those that its last two count. A line of version 1 has at most longestLine bytes.
const (
	signature   = "\r\n\r\n\x00\r\nQUIT\n"
	fixedHeader = 16
	longestLine = 107
)

// takeHeader takes the header of the PROXY protocol from the start of a connection.
func (l *originLoop) takeHeader(fd int32, c *originConn) verdict {
	if !c.readable {
		return goOn
	}
	n, errno := rawsys.Recv(int(fd), l.in, unix.MSG_PEEK)
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
		return goOn
	case errno != 0 || n == 0:
		return closeIt
	}
	size, ok := headerSize(l.in[:n])
	switch {
	case !ok:
		return resetIt
	case size == 0 || size > n: // an edge comes with more
		c.readable = false
		return goOn
	}
	if _, errno := rawsys.Recv(int(fd), l.in[:size], 0); errno != 0 {
		return closeIt
	}
	c.headed = true
	return goOn
}

// headerSize is the size of the header at the start of b; 0 if it is not known yet. ok is false if
// there is none.
func headerSize(b []byte) (size int, ok bool) {
	if start := b[:min(len(b), len(signature))]; bytes.HasPrefix([]byte(signature), start) {
		if len(b) < fixedHeader {
			return 0, true
		}
		return fixedHeader + int(binary.BigEndian.Uint16(b[fixedHeader-2:])), true
	}
	if !bytes.HasPrefix(b, []byte("PROXY ")[:min(len(b), 6)]) {
		return 0, false
	}
	end := bytes.Index(b[:min(len(b), longestLine)], []byte("\r\n"))
	if end < 0 {
		return 0, len(b) < longestLine
	}
	return end + 2, true
}
