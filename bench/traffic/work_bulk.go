package traffic

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// The streams of Send and Receive become level-triggered when the load begins, and do one step per
// event, so that a fast stream does not starve the others.
const (
	sendEvents    = unix.EPOLLOUT | unix.EPOLLIN | unix.EPOLLRDHUP
	receiveEvents = unix.EPOLLIN | unix.EPOLLRDHUP
)

// sending is the work Send.
type sending struct {
	l    *clientLoop
	left uint64 // bytes
}

func newSending(l *clientLoop) work { return &sending{l: l, left: l.run.spec.limit()} }

func (w *sending) keeps() bool         { return true }
func (w *sending) start()              { w.l.startStreams(sendEvents) }
func (w *sending) ready(c *conn)       { w.l.streaming(c, sendEvents) }
func (w *sending) lost(c *conn)        { w.l.open(c, uint64(c.id)) }
func (w *sending) due(int64) int64     { return forever }
func (w *sending) done(now int64) bool { return w.left == 0 || now >= w.l.until }
func (w *sending) finish(int64)        {}

func (w *sending) event(c *conn) {
	if fault := w.l.unasked(c); fault != "" {
		w.l.fail(c, fault)
		return
	}
	if !w.l.begun || w.left == 0 {
		return
	}
	p := stretch(c.position, int(min(w.left, largestStretch)))
	n, errno := rawsys.Send(int(c.fd), p, 0)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 {
		w.l.fail(c, sentence("send", errno))
		return
	}
	w.left -= uint64(n)
	c.position += uint64(n)
	w.l.bytesOut(n)
	w.l.streamed(n)
}

const (
	// sample is how many bytes of a delivery are compared without Verify.
	sample = 256
	// readTurn is the time between two reads of a slow reader.
	readTurn = 50 * time.Millisecond
)

// receiving is the work Receive. With a read rate, each connection reads at fixed times, which a
// schedule spreads evenly, and the unread bytes hold back the sender.
type receiving struct {
	l        *clientLoop
	left     uint64 // bytes
	schedule schedule
	rota     rota
}

func newReceiving(l *clientLoop) work {
	return &receiving{l: l, left: l.run.spec.limit(), rota: rota{conns: l.conns}}
}

func (w *receiving) slow() bool          { return w.l.run.spec.ReadRate > 0 }
func (w *receiving) keeps() bool         { return true }
func (w *receiving) lost(c *conn)        { w.l.open(c, uint64(c.id)) }
func (w *receiving) done(now int64) bool { return w.left == 0 || now >= w.l.until }
func (w *receiving) finish(int64)        {}

func (w *receiving) start() {
	w.schedule = schedule{w.l.begin, float64(readTurn) / float64(len(w.rota.conns))}
	w.l.startStreams(w.events())
}

// events returns edges for a slow reader: level-triggered events would repeat until it reads.
func (w *receiving) events() uint32 {
	if w.slow() {
		return edges
	}
	return receiveEvents
}

func (w *receiving) ready(c *conn) { w.l.streaming(c, w.events()) }

func (w *receiving) event(c *conn) {
	if !w.slow() && w.l.begun {
		w.read(c, len(w.l.in))
	}
}

func (w *receiving) due(now int64) int64 {
	if !w.slow() {
		return forever
	}
	for {
		c := w.rota.conn()
		at := w.schedule.at(w.rota.operation(c, w.rota.round))
		if at > now {
			return at
		}
		if c.state == busy && c.readable {
			w.read(c, w.portion(w.rota.round))
		}
		w.rota.advance()
	}
}

// portion returns how many bytes a slow reader may read in a round, so that all rounds together
// reach the rate.
func (w *receiving) portion(round uint64) int {
	perRound := w.l.run.spec.ReadRate * readTurn.Seconds()
	return min(int(uint64(float64(round+1)*perRound)-uint64(float64(round)*perRound)), len(w.l.in))
}

// read reads at most that number of bytes.
func (w *receiving) read(c *conn, most int) {
	most = int(min(uint64(most), w.left))
	if most == 0 {
		return
	}
	n, fault := takeStream(c.fd, w.l.in[:most], c.position, w.l.run.spec.Verify)
	w.left -= uint64(n)
	c.position += uint64(n)
	w.l.bytesIn(n)
	w.l.streamed(n)
	if fault != "" {
		w.l.fail(c, fault)
		return
	}
	c.readable = n == most || c.ended
}

// takeStream receives what there is, at most len(p) bytes, of a stream at position. Without all, it
// compares the first bytes, which shows whether bytes were lost or added before them, and has the
// kernel drop the rest (MSG_TRUNC, tcp(7)).
func takeStream(fd int32, p []byte, position uint64, all bool) (n int, fault string) {
	first := p
	if !all {
		first = p[:min(len(p), sample)]
	}
	n, errno := rawsys.Recv(int(fd), first, 0)
	switch {
	case errno == unix.EAGAIN:
		return 0, ""
	case errno != 0:
		return 0, sentence("receive", errno)
	case n == 0:
		return 0, faultStreamEnd
	case !matches(first[:n], position, true):
		return n, faultBytes
	case n < len(first) || n == len(p):
		return n, ""
	}
	dropped, errno := rawsys.Recv(int(fd), p[n:], unix.MSG_TRUNC)
	if errno != 0 && errno != unix.EAGAIN {
		return n, sentence("receive", errno)
	}
	return n + dropped, ""
}

// streaming is called when a stream is connected. Its events change when the load begins.
func (l *clientLoop) streaming(c *conn, events uint32) {
	c.state = busy
	l.succeeded++
	l.opened(c)
	if l.begun {
		l.flow(c, events)
	}
}

func (l *clientLoop) startStreams(events uint32) {
	for i := range l.conns {
		if c := &l.conns[i]; c.state == busy {
			l.flow(c, events)
		}
	}
}

func (l *clientLoop) flow(c *conn, events uint32) {
	if errno := l.poller.modify(int(c.fd), events, c.id); errno != 0 {
		l.fail(c, sentence("epoll_ctl", errno))
	}
}

// streamed counts bytes of a stream.
func (l *clientLoop) streamed(n int) {
	if l.measuring && n > 0 {
		l.record.inSecond(l.now-l.from, uint64(n))
	}
}

// unasked returns what is wrong if something came on a connection that only sends.
func (l *clientLoop) unasked(c *conn) string {
	if !c.readable {
		return ""
	}
	n, errno := rawsys.Recv(int(c.fd), l.in, 0)
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
		return ""
	case errno != 0:
		return sentence("receive", errno)
	case n == 0:
		return faultStreamEnd
	}
	return faultUnasked
}
