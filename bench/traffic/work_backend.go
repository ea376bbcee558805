package traffic

import (
	"bytes"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// firstOfCheck is the first byte of an HTTP GET. Clients begin with the pattern, whose first byte
// is another one.
const firstOfCheck = 'G'

// endOfCheck ends the request of a health check (RFC 9112 section 2.1).
var endOfCheck = []byte("\r\n\r\n")

var checkAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

// answerAsBackend is the work Backend: the work Connection, with the number in the response. Health
// checks are HTTP, which takes one line in the configuration of any proxy.
func answerAsBackend(l *originLoop, fd int32, c *originConn) verdict {
	if c.readable && c.received == 0 && !c.checked {
		n, errno := rawsys.Recv(int(fd), l.in[:1], unix.MSG_PEEK)
		c.checked = errno == 0 && n == 1 && l.in[0] == firstOfCheck
	}
	if c.checked {
		return answerCheck(l, fd, c)
	}
	return answerOnce(l, fd, c)
}

// answerCheck answers a request whose end is the end of a delivery: checks are a few lines in one
// segment.
func answerCheck(l *originLoop, fd int32, c *originConn) verdict {
	for c.readable {
		n, errno := rawsys.Recv(int(fd), l.in, 0)
		switch {
		case errno == unix.EAGAIN:
			c.readable = false
			return goOn
		case errno != 0 || n == 0:
			return closeIt
		case bytes.HasSuffix(l.in[:n], endOfCheck):
			// It fits into the empty buffer of a new socket. If the client has gone, it does not
			// matter.
			_, _ = rawsys.Send(int(fd), checkAnswer, 0)
			return closeIt
		}
		c.readable = n == len(l.in) || c.ended
	}
	return goOn
}

// numberedResponse is the pattern with a number as its first byte.
func numberedResponse(number, size int) []byte {
	var response []byte
	for len(response) < size {
		response = append(response, stretch(uint64(len(response)), size-len(response))...)
	}
	response[0] = byte(number)
	return response
}
