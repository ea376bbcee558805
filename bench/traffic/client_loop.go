package traffic

import (
	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// receiveBuffer is the most that one system call receives.
const receiveBuffer = 256 << 10

// clientLoop is the thread of a client.
//
// A descriptor has at most one event in a batch, and a connection is closed only while its own
// event is handled, or between batches. So an event never reaches a newer connection with the same
// descriptor.
type clientLoop struct {
	run    *clientRun
	poller *poller
	conns  []conn
	work   work
	in     []byte
	// message is what each request is; nil if it is the pattern.
	message []byte
	broken  []*conn // closed by a failure that work does not know of yet

	toOpen  int // connections whose opening has begun
	opening int // of those, not open yet

	begun              bool
	begin, from, until int64 // as in clientRun, once begun
	now                int64 // when the batch came
	measuring          bool  // now is in the measured part

	record    record
	succeeded uint64
}

// work is what a loop does with its connections.
type work interface {
	// keeps reports whether connections are opened before the load begins, and reused.
	keeps() bool
	// start starts the load.
	start()
	// ready is called when c has connected, and again when it has reconnected after a failure.
	ready(c *conn)
	// event is called when c, which is connected, may be able to continue.
	event(c *conn)
	// lost is called when c has failed and is closed, outside of any event.
	lost(c *conn)
	// due begins what is due at now, and returns when it wants to be called again.
	due(now int64) int64
	// done reports whether nothing is under way and nothing will follow.
	done(now int64) bool
	// finish counts what is unfinished when the loop ends.
	finish(now int64)
}

// works are all kinds of work of a client.
var works = map[string]func(*clientLoop) work{
	Request:    newRequests,
	Connection: newConnections,
	Send:       newSending,
	Receive:    newReceiving,
	Idle:       newIdling,
	Visit:      newVisits,
	Flow:       newFlows,
}

func newClientLoop(r *clientRun) (*clientLoop, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &clientLoop{
		run: r, poller: poller, conns: make([]conn, r.spec.Connections), in: make([]byte, receiveBuffer),
		begin: forever, from: forever, until: forever,
		message: message(r.spec.Opening, r.spec.RequestBytes),
		record:  newRecord(int(r.spec.Duration.Seconds()) + 1),
	}
	for i := range l.conns {
		l.conns[i] = conn{fd: -1, id: int32(i)}
	}
	l.work = works[r.spec.Work](l)
	return l, nil
}

// close also closes the connections that are still open. The loop has ended.
func (l *clientLoop) close() {
	for i := range l.conns {
		l.drop(&l.conns[i])
	}
	l.poller.close()
}

// serve is the loop.
func (l *clientLoop) serve() error {
	if err := ownThread(); err != nil {
		return err
	}
	if l.work.keeps() {
		l.openMore()
	} else {
		l.run.opened <- struct{}{}
	}
	for !l.run.stopped.Load() {
		if !l.begun && l.run.begun.Load() {
			l.begun, l.begin, l.from, l.until = true, l.run.begin, l.run.from, l.run.until
			l.tick()
			l.work.start()
		}
		l.mend()
		next := int64(forever)
		if l.begun {
			now := Now()
			next = l.work.due(now)
			limit := l.until
			if now >= l.until {
				limit += int64(l.run.drain)
			}
			if now >= limit || l.work.done(now) {
				break
			}
			next = min(next, limit)
		}
		if len(l.broken) > 0 {
			next = 0
		}
		events, err := l.poller.wait(next)
		if err != nil {
			return err
		}
		l.tick()
		for i := range events {
			if id := events[i].Fd; id != wakeUp {
				l.dispatch(&l.conns[id], events[i].Events)
			}
		}
	}
	l.work.finish(Now())
	return nil
}

func (l *clientLoop) tick() {
	l.now = Now()
	l.measuring = l.now >= l.from && l.now < l.until
}

func (l *clientLoop) dispatch(c *conn, events uint32) {
	if events&readEvents != 0 {
		c.readable = true
	}
	if events&lastEvents != 0 {
		c.ended = true
	}
	if c.state != connecting {
		l.work.event(c)
		return
	}
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		if errno := rawsys.SocketError(int(c.fd)); errno != 0 {
			l.fail(c, sentence("connect", errno))
			return
		}
	}
	c.state = free
	l.work.ready(c)
}

// openMore opens further connections, a bounded number at the same time.
func (l *clientLoop) openMore() {
	for l.opening < openingAtOnce && l.toOpen < len(l.conns) {
		c := &l.conns[l.toOpen]
		l.toOpen++
		l.opening++
		l.open(c, uint64(c.id))
	}
}

// opened is called when c is open. After the last one, the loop reports that all are.
func (l *clientLoop) opened(c *conn) {
	if c.counted {
		return
	}
	c.counted = true
	l.opening--
	l.openMore()
	if l.opening == 0 {
		l.run.opened <- struct{}{}
	}
}

// fail closes c and records why.
func (l *clientLoop) fail(c *conn, sentence string) {
	l.drop(c)
	c.fault = sentence
	l.broken = append(l.broken, c)
	l.record.fault(sentence)
	l.run.failed(sentence)
}

// mend passes the connections that have failed to work. Connections that fail again at once wait
// for the next batch.
func (l *clientLoop) mend() {
	n := len(l.broken)
	for _, c := range l.broken[:n] {
		l.work.lost(c)
	}
	l.broken = append(l.broken[:0], l.broken[n:]...)
}

// answered counts an operation that was due at intended and ended now.
func (l *clientLoop) answered(intended, now int64) {
	l.succeeded++
	if now < l.from {
		return
	}
	recordTime(l.record.latency, now-intended)
	if now < l.until {
		l.record.operations++
		l.record.inSecond(now-l.from, 1)
	}
}

// unanswered counts an operation that was due at intended and has not ended.
func (l *clientLoop) unanswered(intended, now int64) {
	if now >= l.from {
		l.record.unanswered++
		recordTime(l.record.latency, now-intended)
	}
}

// late counts an operation that begins only now although a connection was free.
func (l *clientLoop) late(intended, now int64) {
	if now >= l.from {
		recordTime(l.record.late, now-intended)
	}
}
