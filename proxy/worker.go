package proxy

import (
	"sync/atomic"

	"l4proxy/eventloop"
)

// connChunk connections are allocated at a time, so that their addresses never change.
const connChunk = 256

// A worker is one event loop and the connections that live on it. All its methods run on the loop's thread.
type worker struct {
	server    *Server
	loop      *eventloop.Loop
	number    int
	conns     []*[connChunk]conn
	tasks     map[uint32]task // by index
	free      []uint32        // indices not in use, the last one first
	sockets   []*listenSocket
	lingering int     // connections in stateTurnedAway
	closing   int     // connections in stateClosing and stateFlushing, which will still write a record each
	ticket    *ticket // for the next client that may have to wait
	records   recordRing
	counters  counters

	// load is the number of connections here. Other workers read it to see who has room, so it has a cache line of its
	// own.
	_    [64]byte
	load atomic.Int64
	_    [64]byte

	wanting  atomic.Bool // clients here wait for a slot: a loop that frees one says so
	draining bool        // no listening socket accepts any more
	freed    bool        // a slot was given back in this batch
	crowded  bool        // a listening socket here may be full, or have parked clients
	ending   Outcome     // that of endAll, for clients that arrive after it
}

// A task owns an index of the loop, with its slots and its timer, and is not a connection: a listening socket, a second
// dial, an eviction, the end of all connections, the looks at silent backends.
type task interface {
	// complete is called when an operation on one of its slots has ended.
	complete(done *eventloop.Completion)
	// expire is called when its timer is due.
	expire()
}

// timerTask is the part of a task that has no sockets.
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

// takeIndex returns an index that is not in use.
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
	return index
}

// freeConn makes the index of a connection free.
func (w *worker) freeConn(c *conn) {
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

// endTask makes the index of a task free.
func (w *worker) endTask(index uint32) {
	w.loop.StopTimer(index)
	delete(w.tasks, index)
	w.free = append(w.free, index)
}

// roomElsewhere tells a worker that a slot has become free on another loop.
type roomElsewhere struct{}

// Message implements [eventloop.Handler].
func (w *worker) Message(m any) {
	switch m := m.(type) {
	case arrival:
		w.admit(m)
	case granted:
		w.granted(m)
	case roomElsewhere:
		w.useFreeSlots()
	case func(*worker):
		m(w)
	}
}

// BatchEnd implements [eventloop.Handler].
func (w *worker) BatchEnd() {
	if w.freed {
		w.slotsFreed()
	}
	w.records.publish(w.server.wakeRecorder)
}
