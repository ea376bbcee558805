package traffic

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// acceptsAtATime bounds how long connections wait while others are accepted.
const acceptsAtATime = 64

// originLoop is the thread of an origin. Its table is indexed by descriptor. A descriptor has at
// most one event in a batch, and is closed only while that event is handled, so an event never
// reaches a newer connection.
type originLoop struct {
	poller    *poller
	spec      OriginSpec
	service   service
	sockets   []originConn
	addresses []netip.AddrPort // of the listening sockets
	stopped   atomic.Bool      // it ends
	in        []byte
	// message is what each request is; nil if it is the pattern.
	message []byte
	// numbered is the response of a Backend; nil if the response is the pattern.
	numbered []byte
}

// originConn is the state of a descriptor. It is in use while it is open.
type originConn struct {
	open, listener  bool
	readable, ended bool   // as in conn
	received, sent  uint64 // bytes, since it was accepted
	checked         bool   // it is a health check and no client
	headed          bool   // the header of the PROXY protocol has been taken off
}

// service is how an origin does a kind of work.
type service struct {
	// register is the epoll events that a connection is registered for.
	register uint32
	// step continues a connection as far as it can without waiting, or by one step if events are
	// level-triggered.
	step func(l *originLoop, fd int32, c *originConn) verdict
}

// verdict is what to do with a connection after a step.
type verdict int

const (
	goOn    verdict = iota
	closeIt         // with a FIN, if nothing is unread
	resetIt         // wrong bytes came
)

// services are all kinds of work of an origin.
var services = map[string]service{
	Request:    {edges, answerAlways},
	Connection: {edges, answerOnce},
	Backend:    {edges, answerAsBackend},
	Echo:       {edges, echo},
	Sink:       {unix.EPOLLIN, sink},
	Source:     {unix.EPOLLOUT | unix.EPOLLRDHUP, source},
}

func newOriginLoop(spec OriginSpec) (*originLoop, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &originLoop{
		poller: poller, spec: spec, service: services[spec.Work], in: make([]byte, receiveBuffer),
		message: message(spec.Opening, spec.RequestBytes),
	}
	if spec.Work == Backend {
		l.numbered = numberedResponse(spec.Number, spec.ResponseBytes)
	}
	return l, nil
}

// close also closes all sockets. The loop has ended.
func (l *originLoop) close() {
	for fd := range l.sockets {
		if l.sockets[fd].open {
			rawsys.Close(fd)
		}
	}
	l.poller.close()
}

// attach adds fd to the table. After an error fd still belongs to the caller.
func (l *originLoop) attach(fd int, listener bool) error {
	for len(l.sockets) <= fd {
		l.sockets = append(l.sockets, originConn{})
	}
	events := l.service.register
	if listener {
		events = unix.EPOLLIN // level-triggered: a batch of accepts may leave some
	}
	if errno := l.poller.add(fd, events, int32(fd)); errno != 0 {
		return fmt.Errorf("epoll_ctl: %w", errno)
	}
	l.sockets[fd] = originConn{open: true, listener: listener}
	return nil
}

// serve is the loop.
func (l *originLoop) serve() error {
	if err := ownThread(); err != nil {
		return err
	}
	for !l.stopped.Load() {
		events, err := l.poller.wait(forever)
		if err != nil {
			return err
		}
		for i := range events {
			fd := events[i].Fd
			if fd == wakeUp {
				continue
			}
			if l.sockets[fd].listener {
				if err := l.accept(int(fd)); err != nil {
					return err
				}
				continue
			}
			l.dispatch(fd, events[i].Events)
		}
	}
	return nil
}

func (l *originLoop) accept(listener int) error {
	for range acceptsAtATime {
		fd, _, errno := rawsys.Accept(listener, unix.SOCK_NONBLOCK)
		switch errno {
		case 0:
		case unix.EAGAIN:
			return nil
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// An origin without descriptors or memory would look like a slow proxy.
			return fmt.Errorf("accept: %w", errno)
		default:
			continue // the connection has already failed (accept(2))
		}
		if err := l.attach(fd, false); err != nil {
			rawsys.Close(fd)
			return err
		}
	}
	return nil
}

func (l *originLoop) dispatch(fd int32, events uint32) {
	c := &l.sockets[fd]
	if events&readEvents != 0 {
		c.readable = true
	}
	if events&lastEvents != 0 {
		c.ended = true
	}
	v := goOn
	if l.spec.ProxyHeader && !c.headed {
		v = l.takeHeader(fd, c)
	}
	if v == goOn && (c.headed || !l.spec.ProxyHeader) {
		v = l.service.step(l, fd, c)
	}
	switch v {
	case goOn:
		return
	case closeIt:
		rawsys.Close(int(fd))
	case resetIt:
		rawsys.SetLinger(int(fd), 1, 0)
		rawsys.Close(int(fd))
	}
	c.open = false
}

// answerAlways is the work Request: a response for each request, until the client ends.
func answerAlways(l *originLoop, fd int32, c *originConn) verdict {
	request, response := uint64(l.spec.RequestBytes), uint64(l.spec.ResponseBytes)
	for {
		// Requests that came together are answered one by one. Nothing is read while an answer
		// cannot be sent.
		for owed := c.received / request * response; c.sent < owed; {
			position := c.sent % response
			n, errno := rawsys.Send(int(fd), l.response(position, int(response-position)), 0)
			if errno == unix.EAGAIN {
				return goOn
			}
			if errno != 0 {
				return closeIt
			}
			c.sent += uint64(n)
		}
		if !c.readable {
			return goOn
		}
		n, errno := rawsys.Recv(int(fd), l.in, 0)
		if errno == unix.EAGAIN {
			c.readable = false
			return goOn
		}
		if errno != 0 || n == 0 {
			return closeIt
		}
		if !l.matchesRequests(l.in[:n], c.received%request, request) {
			return resetIt
		}
		c.received += uint64(n)
		c.readable = n == len(l.in) || c.ended
	}
}

// response returns at most n bytes of the response from position on.
func (l *originLoop) response(position uint64, n int) []byte {
	if l.numbered != nil {
		return l.numbered[position:]
	}
	return stretch(position, n)
}

// matchesRequests compares p, which begins at position in a request; other requests may follow.
func (l *originLoop) matchesRequests(p []byte, position, request uint64) bool {
	for len(p) > 0 {
		n := min(uint64(len(p)), request-position)
		if !l.matchesRequest(p[:n], position) {
			return false
		}
		p, position = p[n:], 0
	}
	return true
}

// answerOnce is the work Connection: one response, then the origin closes first.
func answerOnce(l *originLoop, fd int32, c *originConn) verdict {
	v := answerAlways(l, fd, c)
	if v == goOn && c.sent >= uint64(l.spec.ResponseBytes) {
		return closeIt
	}
	return v
}

// echo peeks at what has come, sends it, and then removes from the socket what could be sent: no
// connection needs a buffer.
func echo(l *originLoop, fd int32, c *originConn) verdict {
	for c.readable {
		n, errno := rawsys.Recv(int(fd), l.in, unix.MSG_PEEK)
		if errno == unix.EAGAIN {
			c.readable = false
			return goOn
		}
		if errno != 0 || n == 0 {
			return closeIt
		}
		sent, errno := rawsys.Send(int(fd), l.in[:n], 0)
		if errno == unix.EAGAIN {
			return goOn // an edge comes when there is room
		}
		if errno != 0 {
			return closeIt
		}
		if _, errno := rawsys.Recv(int(fd), l.in[:sent], unix.MSG_TRUNC); errno != 0 {
			return closeIt
		}
	}
	return goOn
}

// sink is one step of the work Sink.
func sink(l *originLoop, fd int32, c *originConn) verdict {
	n, fault := takeStream(fd, l.in, c.received, l.spec.Verify)
	c.received += uint64(n)
	switch fault {
	case "":
		return goOn
	case faultBytes:
		return resetIt
	}
	return closeIt
}

// source is one step of the work Source.
func source(l *originLoop, fd int32, c *originConn) verdict {
	if c.ended {
		return closeIt
	}
	n, errno := rawsys.Send(int(fd), stretch(c.sent, largestStretch), 0)
	if errno != 0 && errno != unix.EAGAIN {
		return closeIt
	}
	c.sent += uint64(n)
	return goOn
}
