package proxy

import (
	"net/netip"
	"sync/atomic"

	"l4proxy/eventloop"
)

// connChunk connections are allocated at a time, so that their addresses never change.
const connChunk = 256

// A worker is one event loop and the connections that live on it. All its methods run on the loop's thread.
type worker struct {
	server  *Server
	loop    *eventloop.Loop
	number  int
	conns   []*[connChunk]conn
	free    []uint32 // indices of conns not in use, the last one first
	sockets []*listenSocket
	denying int     // connections in stateDenying
	closing int     // connections in stateClosing and stateFlushing, which will still write a record each
	ticket  *ticket // for the next client that may have to wait
	records recordRing

	firstBytes firstByteWatch

	// load is the number of connections here. Other workers read it to see who has room, so it has a cache line of its
	// own.
	_    [64]byte
	load atomic.Int64
	_    [64]byte

	wanting  atomic.Bool // clients here wait for a place: a loop that has one says so
	draining bool
	freed    bool    // a place was given back in this batch
	crowded  bool    // a listening socket here may be full, or have waiting clients
	ending   Outcome // that of endAll, for those who arrive after it
}

// arrival is an accepted descriptor that is not a connection yet.
type arrival struct {
	fd       int
	peer     netip.AddrPort
	listener *Listener
	at       int64 // loop clock
}

func (w *worker) conn(index uint32) *conn { return &w.conns[index/connChunk][index%connChunk] }

// takeConn returns a zeroed conn and its index.
func (w *worker) takeConn() (uint32, *conn) {
	if len(w.free) == 0 {
		first := uint32(len(w.conns) * connChunk)
		w.conns = append(w.conns, new([connChunk]conn))
		for i := uint32(connChunk); i > 0; i-- {
			w.free = append(w.free, first+i-1)
		}
	}
	index := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	return index, w.conn(index)
}

func (w *worker) freeConn(index uint32, c *conn) {
	*c = conn{}
	w.free = append(w.free, index)
}

// Complete implements [eventloop.Handler].
func (w *worker) Complete(done *eventloop.Completion) {
	index, end := uint32(done.Slot)/2, int(done.Slot)%2
	c := w.conn(index)
	if done.Op == eventloop.OpWatch {
		w.watchDone(index, c, end, done)
		return
	}
	switch c.state {
	case stateListening:
		w.accepted(index, c, done)
	case stateDenying:
		w.denyDone(index, c, done)
	case stateDialling:
		w.dialDone(index, c, done)
	case stateHedging:
		w.hedgeDone(index, c, done)
	case stateWithdrawn:
		w.withdrawn(index, c, done)
	case stateRelaying:
		w.relayDone(index, c, end, done)
	case stateClosing:
		w.closeDone(index, c, done)
	default:
		panic("proxy: completion of " + done.Op.String() + " for a connection that has no operation in flight")
	}
}

// Expire implements [eventloop.Handler].
func (w *worker) Expire(index uint32) {
	c := w.conn(index)
	switch c.state {
	case stateListening:
		w.resumeAccept(index, c)
	case stateDenying:
		w.end(index, c, c.outcome)
	case stateDialling:
		w.dialExpired(index, c)
	case stateHedging:
		w.dialExpired(index, c)
	case stateQueued:
		w.queueExpired(index, c)
	case stateWaiting:
		w.dial(index, c)
	case stateEvicting:
		w.evict(index, c)
	case stateEnding:
		w.endMore(index, c)
	case stateWatching:
		w.look(index)
	case stateRelaying:
		w.relayExpired(index, c)
	case stateFlushing:
		w.flush(index, c)
	}
}

// Messages to a worker.
type (
	// startAccepting: accept on all listening sockets.
	startAccepting struct{}
	// stopAccepting: take what already waits in the listening sockets' queues, then close them.
	stopAccepting struct{}
	// endAll: end every connection with this outcome.
	endAll struct{ Outcome }
	// setListening: stop to listen for a listener, or begin again.
	setListening struct {
		listener *Listener
		on       bool
	}
	// roomElsewhere: a place has become free on another loop.
	roomElsewhere struct{}
	// quit: leave the loop.
	quit struct{}
)

// Message implements [eventloop.Handler].
func (w *worker) Message(m any) {
	switch m := m.(type) {
	case arrival:
		w.admit(m)
	case startAccepting:
		w.startAccepting()
		w.watchFirstBytes()
	case stopAccepting:
		w.stopAccepting()
	case endAll:
		w.endAll(m.Outcome)
	case roomElsewhere:
		w.goOn()
	case granted:
		w.called(m.ticket, m.backend)
	case Evict:
		w.startEviction(m)
	case findIdle:
		w.findIdle(m)
	case endIdle:
		w.endIdle(m)
	case setListening:
		w.setListening(m)
	case quit:
		w.loop.Quit()
	}
}

// BatchEnd implements [eventloop.Handler].
func (w *worker) BatchEnd() {
	if w.freed {
		w.placesFreed()
	}
	w.records.publish(w.server.wakeRecorder)
}
