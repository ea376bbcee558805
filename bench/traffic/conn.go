package traffic

import (
	"errors"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// state is what a client's connection does.
type state uint8

const (
	closed     state = iota
	connecting       // waits for the handshake
	free             // is open, without an operation
	busy             // has an operation
	ending           // has its response and waits for the origin's end
)

// conn is one of a client's connections. It may have several sockets, one after the other.
type conn struct {
	fd       int32 // -1 when closed
	id       int32 // in conns
	state    state
	readable bool // there may be something to read
	ended    bool // a FIN or an error is there, perhaps behind bytes
	counted  bool // its opening has ended

	sent, got int    // of a message each way
	position  uint64 // in a stream
	dialled   int64  // when it began to connect
	connected int64  // when it had connected; 0: not yet. For Visit
	backend   byte   // the number in the response, if it has one
	fault     string // why it was closed, if it failed
	intended  int64  // when its operation was due
	freeSince int64
	round     uint64 // operations begun by the schedule
}

// open starts to connect c; turn decides which addresses it uses.
func (l *clientLoop) open(c *conn, turn uint64) {
	target, source := l.run.endpoints.pair(turn)
	fd, errno := rawsys.Socket(target.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		l.cannot(c, "socket", errno)
		return
	}
	c.fd, c.state, c.readable, c.ended, c.position, c.dialled = int32(fd), connecting, false, false, 0, Now()
	c.connected, c.backend = 0, 0
	if errno := rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); errno != 0 {
		l.cannot(c, "setsockopt", errno)
		return
	}
	if source != nil {
		// connect chooses the port, when the target is known: one port then serves many targets
		// (ip(7)).
		if errno := rawsys.SetInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); errno != 0 {
			l.cannot(c, "setsockopt", errno)
			return
		}
		if errno := source.Bind(fd); errno != 0 {
			l.cannot(c, "bind", errno)
			return
		}
	}
	switch errno := target.Connect(fd); errno {
	case 0, unix.EINPROGRESS:
	case unix.EADDRNOTAVAIL:
		l.cannot(c, "connect", errno)
		return
	default:
		l.fail(c, sentence("connect", errno))
		return
	}
	// Not before connect: a socket that is not connecting reports a hang-up.
	if errno := l.poller.add(fd, edges, c.id); errno != 0 {
		l.cannot(c, "epoll_ctl", errno)
	}
}

// drop closes c's socket.
func (l *clientLoop) drop(c *conn) {
	if c.fd >= 0 {
		rawsys.Close(int(c.fd))
		c.fd, c.state = -1, closed
	}
}

// cannot closes c because this machine is out of ports, descriptors or the like. That is not a
// failure of a peer, so where failures are results it ends the run.
func (l *clientLoop) cannot(c *conn, call string, errno unix.Errno) {
	l.fail(c, sentence(call, errno))
	if l.run.spec.Work == Visit || l.run.spec.Work == Flow {
		l.run.abandon(errors.New(c.fault))
	}
}

const (
	faultEarlyEnd  = "the connection ended before the response did"
	faultEnd       = "the connection ended while it was idle"
	faultExcess    = "more bytes came than the response has"
	faultUnasked   = "bytes came without a request"
	faultBytes     = "a wrong byte came"
	faultStreamEnd = "the connection ended within the stream"
	faultNoAnswer  = "no answer in time"
	faultNoConnect = "no connection in time"
)

func sentence(call string, errno unix.Errno) string {
	if errno == unix.EADDRNOTAVAIL {
		return call + ": no source port is left for this target, or the source is no address of this machine (" + errno.Error() + ")"
	}
	return call + ": " + errno.Error()
}

// beginMessage has the next exchange send a request.
func (c *conn) beginMessage(intended int64) {
	c.state, c.sent, c.got, c.intended = busy, 0, 0, intended
}

// exchange continues c's request and response as far as it can without waiting. It returns whether
// the response is complete, or what is wrong. On a free connection, anything that comes is wrong.
func (l *clientLoop) exchange(c *conn) (complete bool, fault string) {
	spec := &l.run.spec
	for c.state == busy && c.sent < spec.RequestBytes {
		n, errno := rawsys.Send(int(c.fd), l.request(c.sent, spec.RequestBytes-c.sent), 0)
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 {
			return false, sentence("send", errno)
		}
		c.sent += n
		l.bytesOut(n)
	}
	for c.readable {
		n, errno := rawsys.Recv(int(c.fd), l.in, 0)
		switch {
		case errno == unix.EAGAIN:
			c.readable = false
			return false, ""
		case errno != 0:
			return false, sentence("receive", errno)
		case n == 0 && c.state == busy:
			return false, faultEarlyEnd
		case n == 0:
			return false, faultEnd
		case c.state != busy || c.sent < spec.RequestBytes:
			return false, faultUnasked
		case c.got+n > spec.ResponseBytes:
			return false, faultExcess
		case !l.matchesResponse(c, l.in[:n]):
			return false, faultBytes
		}
		c.got += n
		l.bytesIn(n)
		// A short read has emptied the socket (epoll(7)), unless its end follows.
		c.readable = n == len(l.in) || c.ended
		if c.got == spec.ResponseBytes {
			return true, ""
		}
	}
	return false, ""
}

// matchesResponse reports whether p may come next in the response on c. If backends are numbered,
// the first byte of the response is the number.
func (l *clientLoop) matchesResponse(c *conn, p []byte) bool {
	spec, position := &l.run.spec, uint64(c.got)
	if spec.Backends > 0 && position == 0 {
		c.backend = p[0]
		if c.backend == 0 || int(c.backend) > spec.Backends {
			return false
		}
		p, position = p[1:], 1
	}
	return matches(p, position, spec.Verify)
}

func (l *clientLoop) bytesIn(n int) {
	if l.measuring {
		l.record.bytesIn += uint64(n)
	}
}

func (l *clientLoop) bytesOut(n int) {
	if l.measuring {
		l.record.bytesOut += uint64(n)
	}
}
