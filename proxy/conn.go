package proxy

import (
	"net/netip"
	"time"

	"l4proxy/backend"
	"l4proxy/eventloop"
)

// A conn is one client connection together with its backend connection. It is plain data: the loop
// knows operations in flight by slot, so that a connection can be stopped, reported and handed
// over.
//
// The conn at index i of its worker owns the loop's slots 2i (client) and 2i+1 (backend), and its
// timer i. life.go describes its life.
type conn struct {
	index    uint32
	state    connState
	attempts uint8
	flags    connFlags
	serial   uint32 // distinguishes it from other connections at this index; see connKey
	outcome  Outcome
	listener *Listener
	counts   *listenerCounters // of the listener, on this worker
	pool     *Pool             // set by route
	backend  *backend.Backend
	search   *search        // while looking for a backend; later the failed dials; nil for most connections
	hello    *hello         // what the client sent before it was routed, and what that said; nil for most
	client   netip.AddrPort // of the peer, or as its PROXY protocol header says
	rule     string         // the rule that denied the client; with flagShadow, the first shadow rule that it has met

	accepted   int64 // loop clock, ns
	dialled    int64 // start of the current dial, or of the successful one
	connected  int64
	lastActive int64  // when the last byte moved
	failed     int64  // when an end failed, if what it sent before is still being delivered; else 0
	flushing   int64  // when stateFlushing began
	taken      uint64 // bytes that the peers had received at the last check; see delivering

	flow [2]flow
	pace *pace // nil unless it is subject to limits of bandwidth
}

type connFlags uint32

const (
	flagClient         connFlags = 1 << iota // the client's socket is open
	flagBackend                              // the backend's socket is open
	flagSlot                                 // holds a connection slot of the process and the listener
	flagCounted                              // the balancer counts this connection on its backend
	flagHalfClosed                           // one stream has ended
	flagKeptAlive                            // keepalive is set on the backend's socket
	flagPatient                              // TCP_USER_TIMEOUT is off on the client's socket
	flagPatientBackend                       // the same for the backend's socket; see lookAfterPeers
	flagResetOut                             // at the close, the surviving end gets a reset
	flagAnswered                             // the backend has sent a byte
	flagMayHedge                             // the timer starts a second dial before it ends the first
	flagQueued                               // has waited in the pool's queue
	flagPending                              // bytes were on their way at the last look; see lookAfterPeers
	flagWatched                              // half-closed, and the finished end is watched
	flagClientEnded                          // the client sent bytes and then its FIN while it waited
	flagBlamed                               // the balancer knows that the backend did not answer
	flagAsking                               // the client has sent bytes since the backend's last one
	flagDiscarding                           // bytes of the remaining stream are discarded; see endRest
	flagTraced                               // its steps are passed on; see steps.go
	flagShadow                               // rule is one that only counts
	flagDrop                                 // at the close, the client is dropped; see hold.go
	flagTarpit                               // at the close, the client goes to the tarpit; see hold.go
	flagLimited                              // counts as one of its client; see clientlimit.go
)

// The two ends of a connection. End e has the loop's slot 2i+e; flow[e] carries bytes from end e to
// the other end.
const (
	clientEnd  = 0
	backendEnd = 1
)

// A flow is one direction. Bytes are read from one end, held by this flow alone, and written to the
// other end before more are read. So a slow reader slows down a fast writer, at the cost of one
// buffer or one pipe.
type flow struct {
	bytes uint64          // accepted by the kernel for the reading side
	pipe  *eventloop.Pipe // bytes on their way to the other end; nil if there are none
	// streak counts reads in a row that were large (while copying) or small (while splicing); see
	// adapt.
	streak  uint8
	spliced bool
	ended   flowEnd
}

// flowEnd is whether and how a flow has ended.
type flowEnd uint8

const (
	flowOpen  flowEnd = iota
	flowFIN           // FIN received, and passed on after all bytes
	flowReset         // its source was reset or failed
	flowDead          // its destination was reset or failed: further bytes are discarded
)

// passed counts bytes from an end that the other end's socket has accepted.
func (c *conn) passed(from int, n int) {
	if c.hello != nil && from == clientEnd {
		n = c.hello.ofClient(n)
	}
	if n > 0 {
		c.flow[from].bytes += uint64(n)
		c.counts.bytes[from].add(uint64(n))
	}
}

// slot is the loop's slot of one end.
func (c *conn) slot(end int) eventloop.Slot { return slotOf(c.index, end) }

func slotOf(index uint32, end int) eventloop.Slot { return eventloop.Slot(index*2 + uint32(end)) }

// sideOf returns the side of an end.
func sideOf(end int) Side { return SideClient + Side(end) }

// limit is how long no byte may move on the connection; 0 means no limit.
func (c *conn) limit() int64 {
	limit := int64(c.listener.Idle)
	atMost := func(other time.Duration) {
		if other > 0 && (limit == 0 || int64(other) < limit) {
			limit = int64(other)
		}
	}
	if c.flags&flagHalfClosed != 0 {
		atMost(c.listener.HalfClose)
	}
	// One end has failed. What it sent before is still delivered, but the other end does not wait
	// longer than this.
	if c.flags&flagResetOut != 0 {
		atMost(flushMost)
	}
	return limit
}

// idleSince is when the connection became idle.
func (c *conn) idleSince() int64 {
	if c.failed == 0 {
		return c.lastActive
	}
	return max(c.lastActive, c.failed)
}
