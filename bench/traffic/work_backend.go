package traffic

import (
	"bytes"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// firstOfCheck is the first byte of an HTTP GET. That of the pattern, with which a client begins, is another one.
const firstOfCheck = 'G'

// endOfCheck ends the request of a health check (RFC 9112 section 2.1).
var endOfCheck = []byte("\r\n\r\n")

var checkAnswer = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

// answerAsBackend is the work Backend: for clients it is Connection, with the number in the response. Those who check
// its health ask in HTTP, which all proxies can with a line of configuration.
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

// answerCheck answers a request that ends where a delivery does, as a few lines that were sent at once do.
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
			// It fits into the empty buffer of a new socket. Whoever has gone meanwhile wants none.
			_, _ = rawsys.Send(int(fd), checkAnswer, 0)
			return closeIt
		}
		c.readable = n == len(l.in) || c.ended
	}
	return goOn
}

// numberedResponse is the pattern with a number in the place of its first byte.
func numberedResponse(number, size int) []byte {
	var response []byte
	for len(response) < size {
		response = append(response, stretch(uint64(len(response)), size-len(response))...)
	}
	response[0] = byte(number)
	return response
}
