package proxy

import (
	"net/netip"
	"time"

	"l4proxy/backend"
	"l4proxy/eventloop"
)

// A conn is one client connection together with its backend connection. It is plain data: operations in flight are
// known to the loop by slot, so that a connection can be stopped, reported and handed over.
//
// The conn at index i of its worker owns the slots 2i (client) and 2i+1 (backend) of the loop, and timer i. life.go
// tells its life.
type conn struct {
	index    uint32
	state    connState
	attempts uint8
	flags    connFlags
	outcome  Outcome
	listener *Listener
	pool     *Pool // set by route
	backend  *backend.Backend
	search   *search // while looking for a backend; later the failed dials; nil for most
	peer     netip.AddrPort
	rule     string // the ACL rule that denied

	accepted   int64 // loop clock, ns
	dialled    int64 // the present dial, or the successful one
	connected  int64
	lastActive int64  // the last byte moved
	failed     int64  // since when an end has failed and what it sent before is being delivered; 0 if none has
	flushing   int64  // stateFlushing: since when
	taken      uint64 // by both peers, when an idle timeout was last looked at; see delivering

	flow [2]flow
}

type connFlags uint32

const (
	flagClient         connFlags = 1 << iota // the client's socket is open
	flagBackend                              // the backend's socket is open
	flagSlot                                 // it holds a connection slot of the process and the listener
	flagCounted                              // the balancer counts this connection on its backend
	flagHalfClosed                           // one stream has ended
	flagKeptAlive                            // keepalive is set on the backend's socket
	flagPatient                              // TCP_USER_TIMEOUT is off for the client's socket; see lookAfterPeers
	flagPatientBackend                       // the same for the backend's socket
	flagResetOut                             // at the close, the surviving side gets a reset
	flagAnswered                             // the backend has sent a byte
	flagMayHedge                             // the timer asks for a second dial, not for the end of the first
	flagQueued                               // it has waited in the pool's queue
	flagPending                              // bytes were on their way to a peer at the last look; see lookAfterPeers
	flagWatched                              // half-closed, and the finished end is watched
	flagClientEnded                          // the client sent bytes and then its FIN while it waited
	flagBlamed                               // the balancer knows that the backend does not answer
	flagAsking                               // the client has sent bytes since the backend's last one
	flagDiscarding                           // what comes on the remaining stream is discarded; see endRest
)

// The two ends of a connection. End e is slot 2i+e; flow[e] is the bytes that come from end e and go to the other.
const (
	clientEnd  = 0
	backendEnd = 1
)

// A flow is one direction: bytes are read from one end, held by this flow alone, and written to the other end before
// more are read. So a slow reader holds back a fast writer, at the price of one buffer or one pipe.
type flow struct {
	bytes uint64          // accepted by the kernel for the reading side
	pipe  *eventloop.Pipe // with bytes on their way to the other end, nil while there are none
	// streak counts reads in a row that were large (while copying) or small (while splicing): when to change the way.
	streak  uint8
	spliced bool
	ended   flowEnd
}

// flowEnd says whether and how a flow is over.
type flowEnd uint8

const (
	flowOpen  flowEnd = iota
	flowFIN           // FIN received, and passed on after all bytes
	flowReset         // its source was reset, or failed
	flowDead          // its destination was reset, or failed: what comes is discarded
)

// slot is the loop's slot of one end.
func (c *conn) slot(end int) eventloop.Slot { return slotOf(c.index, end) }

func slotOf(index uint32, end int) eventloop.Slot { return eventloop.Slot(index*2 + uint32(end)) }

// sideOf names an end.
func sideOf(end int) Side { return SideClient + Side(end) }

// limit is how long nothing may move on the connection; 0 means no limit.
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
	if c.flags&flagResetOut != 0 { // one end has failed: what it sent before is still delivered, while the other end waits
		atMost(flushMost)
	}
	return limit
}

// idleSince is the time since which nothing has moved.
func (c *conn) idleSince() int64 {
	if c.failed == 0 {
		return c.lastActive
	}
	return max(c.lastActive, c.failed)
}
