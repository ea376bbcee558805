package proxy

import (
	"sync/atomic"

	"l4proxy/eventloop"
)

// connChunk connections are allocated at a time, so that their addresses never change.
const connChunk = 256

// A worker is one event loop and its connections. All methods run on the loop's thread.
type worker struct {
	server    *Server
	loop      *eventloop.Loop
	number    int
	conns     []*[connChunk]conn
	tasks     map[uint32]task // by index
	free      []uint32        // indices not in use, the last one first
	serial    uint32          // of the last index that was taken; begins at random
	sockets   []*listenSocket
	lingering int     // connections in stateTurnedAway
	closing   int     // connections in stateClosing and stateFlushing; each will still write a record
	ticket    *ticket // for the next client that may have to wait
	records   ring[Record]
	steps     ring[Step]
	traced    map[uint32]*traced // by index: connections with flagTraced
	uncounted struct {           // what has no name in the ledger
		listener listenerCounters
		pool     poolCounters
	}
	look    *firstByteLook         // nil unless a pool needs it
	shut    map[string]shutReasons // listeners that are closed to new clients, by name
	leavers map[uint32]*leaver     // by index: connections in stateLeaving and stateMoving
	owed    []owed                 // see handover.go
	held    bool                   // no listening socket accepts clients for now; see pause.go
	pacer   *pacer                 // nil until a flow has waited for a limit of bandwidth
	grants  grants

	first      []byte  // memory for what a backend gets first; see greet
	tlvs       []byte  // memory for a PROXY protocol header
	answer     [1]byte // memory for an answer to a client; see answerRequest
	dropped    holding // clients that are about to be forgotten; see hold.go
	nextDenied int64   // see withhold
	withheld   counter // records of denied clients that were not made
	holds      int     // clients in these and in tarpits
	spareHeld  *held   // linked by next

	// load is the number of connections here. Other workers read it to find the one with the most
	// room, so it has a cache line of its own.
	_    [64]byte
	load atomic.Int64
	_    [64]byte

	wanting  atomic.Bool // clients here wait for a slot; a loop that frees one wakes this one
	draining bool        // no listening socket accepts clients any more
	freed    bool        // a slot was released in this batch
	crowded  bool        // a listening socket here may be full, or have parked clients
	ending   Outcome     // set by endAll, for clients that arrive later
	pulse    pulse

	followed      int   // connections that a trace began to follow since followedSince
	followedSince int64 // loop clock
}

// A task owns an index of the loop, with its slots and its timer, but is not a connection: a
// listening socket, a second dial, an eviction, the end of all connections, or the looks for silent
// backends.
type task interface {
	// complete is called when an operation on one of its slots has ended.
	complete(done *eventloop.Completion)
	// expire is called when its timer is due.
	expire()
}

// timerTask is embedded in tasks that have no sockets.
type timerTask struct{}

func (timerTask) complete(done *eventloop.Completion) {
	panic("proxy: completion of " + done.Op.String() + " for a task without sockets")
}

// conn returns the connection at an index. Its state is stateNone if there is none.
func (w *worker) conn(index uint32) *conn { return &w.conns[index/connChunk][index%connChunk] }

// indices is the number of indices, in use or not.
func (w *worker) indices() uint32 { return uint32(len(w.conns) * connChunk) }

// connections calls f for each connection.
func (w *worker) connections(f func(*conn)) {
	for _, chunk := range w.conns {
		for i := range chunk {
			if c := &chunk[i]; c.state != stateNone {
				f(c)
			}
		}
	}
}

// takeIndex returns a free index.
func (w *worker) takeIndex() uint32 {
	if len(w.free) == 0 {
		first := w.indices()
		chunk := new([connChunk]conn)
		w.conns = append(w.conns, chunk)
		for i := uint32(connChunk); i > 0; i-- {
			chunk[i-1].index = first + i - 1
			w.free = append(w.free, first+i-1)
		}
	}
	index := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	w.serial++
	w.conn(index).serial = w.serial
	return index
}

// freeConn frees the index of a connection.
func (w *worker) freeConn(c *conn) {
	if c.flags&flagTraced != 0 {
		delete(w.traced, c.index)
	}
	*c = conn{index: c.index}
	w.free = append(w.free, c.index)
}

// startTask gives a task an index.
func (w *worker) startTask(t task) (index uint32) {
	index = w.takeIndex()
	if w.tasks == nil {
		w.tasks = make(map[uint32]task)
	}
	w.tasks[index] = t
	return index
}

// endTask frees the index of a task.
func (w *worker) endTask(index uint32) {
	w.loop.StopTimer(index)
	delete(w.tasks, index)
	w.free = append(w.free, index)
}

// roomElsewhere is the message that a slot has become free on another loop.
type roomElsewhere struct{}

// Message implements [eventloop.Handler].
func (w *worker) Message(m any) {
	switch m := m.(type) {
	case arrival:
		w.admit(m)
	case granted:
		w.granted(m)
	case *adoption:
		w.adopt(m)
	case roomElsewhere:
		w.useFreeSlots()
	case grantsCame:
		w.takeGrants()
	case func(*worker):
		m(w)
	}
}

// BatchEnd implements [eventloop.Handler].
func (w *worker) BatchEnd() {
	if w.freed {
		w.slotsFreed()
	}
	w.steps.publish(w.server.wakeRecorder)
	w.records.publish(w.server.wakeRecorder)
}
