package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/clienthello"
)

// Step is something that happened to a connection that is traced.
type Step struct {
	Kind StepKind
	// Trace is a number that no other connection has, and the connection for as long as it is
	// followed.
	Trace    uint64
	Listener *Listener
	Client   netip.AddrPort // the zero value for a client on a unix socket
	Age      time.Duration  // since accept
	At       time.Duration  // on the loops' clock

	// These depend on the kind. Those that do not belong to it are zero.
	Pool     *Pool
	Backend  *backend.Backend
	Took     time.Duration // of a dial
	Attempt  int           // which dial of the client
	Side     Side
	Reason   Reason
	Errno    unix.Errno
	Rule     string // of the access control list
	Prefix   netip.Prefix
	BytesIn  uint64 // client to backend
	BytesOut uint64
	Loop     int
	Peer     netip.AddrPort    // that has sent the PROXY protocol header; invalid for a unix socket
	Hello    clienthello.Hello // by which the client is routed
}

// StepKind is what happened.
type StepKind uint8

// The kinds, in about the order in which they happen.
const (
	StepAccepted   StepKind = iota // by the loop Loop
	StepFollowed                   // it was open when the trace began
	StepAllowed                    // by Rule, or by default
	StepDenied                     // the same
	StepParked                     // no connection slot is free: it waits for one
	StepSlot                       // it has a connection slot
	StepMovedLoop                  // to the loop Loop, which has more room
	StepHeader                     // a PROXY protocol header of Peer has named the client
	StepHello                      // Hello has come, or bytes that are no ClientHello
	StepRouted                     // to Pool
	StepDial                       // of Backend begins
	StepHedge                      // a second dial, of Backend, begins
	StepDialFailed                 // of Backend, for Reason
	StepShort                      // no descriptor or memory is left for a dial, which is retried
	StepQueued                     // it waits for a backend
	StepGranted                    // Backend has room for it
	StepConnected                  // to Backend
	StepFirstByte                  // of Side
	StepFIN                        // of Side, passed on
	StepReset                      // the socket of Side has failed
	StepTurnedAway                 // its message and FIN are sent, what it sends is discarded
	StepMoved                      // to another process
	StepAdopted                    // from another process
	StepEnded                      // for Reason
	stepKinds
)

var stepNames = [stepKinds]string{
	"accepted", "open already", "allowed", "denied", "parked", "slot taken", "moved to another loop", "header read", "hello read", "routed",
	"dialing", "dialing beside", "dial failed", "out of descriptors", "queued", "granted", "connected", "first byte",
	"fin", "reset", "turned away", "moved to another process", "taken over", "ended",
}

func (k StepKind) String() string { return stepNames[k] }

// traced is what a loop keeps of a client whose steps are passed on.
type traced struct {
	number uint64
	trace  *trace // nil: all connections are traced
	bytes  [2]bool
}

// over reports whether the client is not to be followed any more.
func (t *traced) over(s *Server) bool {
	if t.trace != nil {
		return t.trace.ended.Load()
	}
	set := s.tracer.set.Load()
	return set == nil || !set.all
}

// follow returns what is needed to trace a client, nil if it is not to be traced. number is that of
// a client that another process has traced, 0 for none.
func (w *worker) follow(set *traceSet, l *Listener, peer netip.AddrPort, number uint64) *traced {
	if number == 0 {
		number = w.server.tracer.last.Add(1)
	}
	for _, t := range set.traces {
		if !t.ended.Load() && t.matches(l, peer) {
			if w.mayFollow() {
				t.connections.Add(1)
				return &traced{number: number, trace: t}
			}
			t.leftOut.Add(1)
		}
	}
	if set.all {
		return &traced{number: number}
	}
	return nil
}

// mayFollow keeps to the bounds of this loop.
func (w *worker) mayFollow() bool {
	if now := w.loop.Now(); now-w.followedSince >= int64(time.Second) {
		w.followedSince, w.followed = now, 0
	}
	if w.followed >= tracedPerSecond || len(w.traced) >= tracedMost {
		return false
	}
	w.followed++
	return true
}

// followArrival begins to trace a client that was accepted.
func (w *worker) followArrival(a *arrival, set *traceSet) {
	if a.traced = w.follow(set, a.listener, a.client, 0); a.traced == nil {
		return
	}
	w.noteArrival(a, Step{Kind: StepAccepted, Loop: w.number})
}

// aclStep is what the access control list of a listener decides about an address.
func aclStep(l *Listener, client netip.Addr) Step {
	e := l.ACL.Explain(client)
	kind := StepDenied
	if e.Allow {
		kind = StepAllowed
	}
	return Step{Kind: kind, Rule: e.Name, Prefix: e.Prefix}
}

// followConn traces a connection. t is its own.
func (w *worker) followConn(c *conn, t *traced) {
	if w.traced == nil {
		w.traced = make(map[uint32]*traced)
	}
	w.traced[c.index] = t
	c.flags |= flagTraced
}

// unfollow forgets a connection that was traced.
func (w *worker) unfollow(c *conn) {
	delete(w.traced, c.index)
	c.flags &^= flagTraced
}

// followOpen traces connections that are open already. t is nil for all.
func (s *Server) followOpen(t *trace) {
	only := &traceSet{all: t == nil}
	if t != nil {
		only.traces = []*trace{t}
	}
	s.lookAtAll(func(w *worker, c *conn) (more bool) {
		if set := s.tracer.set.Load(); set == nil || t == nil && !set.all || t != nil && t.ended.Load() {
			return false
		}
		number := uint64(0)
		if of := w.traced[c.index]; of != nil {
			if !of.over(s) {
				return true
			}
			number = of.number // it continues with the trace that replaces its own
			w.unfollow(c)
		}
		if f := w.follow(only, c.listener, c.client, number); f != nil {
			f.bytes = [2]bool{c.flow[clientEnd].bytes > 0, c.flow[backendEnd].bytes > 0}
			w.followConn(c, f)
			w.note(c, Step{Kind: StepFollowed, Pool: c.pool, Backend: c.backend})
		}
		return true
	})
}

// unfollowEnded forgets the connections of traces that have ended. Those on which nothing happens
// would otherwise count towards tracedMost until they end.
func (s *Server) unfollowEnded() {
	s.lookAtAll(func(w *worker, c *conn) (more bool) {
		if of := w.traced[c.index]; of != nil && of.over(s) {
			w.unfollow(c)
		}
		return len(w.traced) > 0
	})
}

// lookAtAll calls f with each connection, a few at a time on each loop, until f returns false
// there.
func (s *Server) lookAtAll(f func(w *worker, c *conn) (more bool)) {
	var look func(w *worker, next uint32)
	look = func(w *worker, next uint32) {
		for end := min(next+connChunk, w.indices()); next < end; next++ {
			if c := w.conn(next); c.state != stateNone && !f(w, c) {
				return
			}
		}
		if next < w.indices() {
			w.loop.Post(func(w *worker) { look(w, next) })
		}
	}
	s.tell(func(w *worker) { look(w, 0) })
}

// note passes a step of a traced connection on.
func (w *worker) note(c *conn, step Step) {
	t := w.traced[c.index]
	if t == nil || t.over(w.server) {
		w.unfollow(c)
		return
	}
	step.Listener, step.Client, step.Age = c.listener, c.client, time.Duration(w.loop.Now()-c.accepted)
	step.Trace, step.At = t.number, time.Duration(w.loop.Now())
	w.emit(step)
}

// noteArrival is note for a traced client that is not a connection yet.
func (w *worker) noteArrival(a *arrival, step Step) {
	if a.traced.over(w.server) {
		return
	}
	step.Listener, step.Client, step.Age = a.listener, a.client, time.Duration(w.loop.Now()-a.at)
	step.Trace, step.At = a.traced.number, time.Duration(w.loop.Now())
	w.emit(step)
}

func (w *worker) emit(step Step) {
	if slot := w.steps.next(); slot != nil { // the loss is counted
		*slot = step
		if w.steps.many() {
			w.steps.publish(w.server.wakeRecorder)
		}
	}
}

// noteByte is called for each read of a traced connection.
func (w *worker) noteByte(c *conn, end int) {
	if t := w.traced[c.index]; t != nil && !t.bytes[end] {
		t.bytes[end] = true
		w.note(c, Step{Kind: StepFirstByte, Side: sideOf(end)})
	}
}

// noteEnd is called when a stream of a traced connection has ended.
func (w *worker) noteEnd(c *conn, kind StepKind, end int, errno unix.Errno) {
	w.note(c, Step{Kind: kind, Side: sideOf(end), Errno: errno, BytesIn: c.flow[clientEnd].bytes, BytesOut: c.flow[backendEnd].bytes})
}

// dialStep is a step about the dial of a backend.
func (w *worker) dialStep(c *conn, kind StepKind, b *backend.Backend, dialled int64, o Outcome) {
	step := Step{Kind: kind, Pool: c.pool, Backend: b, Attempt: int(c.attempts), Reason: o.Reason, Errno: o.Errno}
	if dialled > 0 {
		step.Took = time.Duration(w.loop.Now() - dialled)
	}
	w.note(c, step)
}

// endedStep is the last step of a client.
func (c *conn) endedStep() Step {
	return Step{
		Kind: StepEnded, Pool: c.pool, Backend: c.backend, Side: c.outcome.Side, Reason: c.outcome.Reason, Errno: c.outcome.Errno,
		Rule: c.rule, BytesIn: c.flow[clientEnd].bytes, BytesOut: c.flow[backendEnd].bytes,
	}
}
