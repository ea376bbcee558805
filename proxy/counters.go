package proxy

import (
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/bandwidth"
	"l4proxy/internal/histogram"
)

// A counter has one writer, which needs no read-modify-write instruction and no loop. Any goroutine
// may read it.
type counter struct{ n atomic.Uint64 }

func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }
func (c *counter) get() uint64  { return c.n.Load() }

// listenerCounters are those of one listener on one worker.
type listenerCounters struct {
	accepted counter
	banned   counter
	adopted  counter // see Server.Adopt
	moved    counter // see Server.HandOver
	ended    [sides][reasons]counter
	bytes    [2]counter // by the end that sent them, in this process
	pauses   [pauses]counter
	// Clients that were refused by per_client, and those whose rate was not limited.
	overConnections, overRate, unrated counter
	rules                              atomic.Pointer[ruleCounters] // nil until the ledger has the listener
	tarpit                             holding                      // of this worker
	durations                          histogram.Histogram
	// Waits for limits of bandwidth, and these limits; nil if there were never any.
	waits  [bandwidth.Directions][bandwidth.Kinds]waitCounters
	limits atomic.Pointer[bandwidth.Limits]
}

// poolCounters are those of one pool on one worker.
type poolCounters struct {
	dials         [reasons]counter // ReasonNone: answered
	retries       counter
	hedges        counter
	hedgesWon     counter
	pauses        counter // dials that waited for a descriptor
	queued        counter
	queueTimeouts counter
	rejected      counter // by a full queue
	dialTimes     histogram.Histogram
	waits         histogram.Histogram // in the queue
}

// waitCounters count the waits of flows for a limit.
type waitCounters struct {
	n, ns counter
}

// BandwidthWaits are how often flows have waited for a limit, and for how long in all.
type BandwidthWaits struct {
	N    uint64        `json:"n"`
	Time time.Duration `json:"time"` // in nanoseconds, as JSON
}

func (w *BandwidthWaits) add(more BandwidthWaits) {
	w.N += more.N
	w.Time += more.Time
}

// A PauseCause is why a listening socket stopped accepting clients for a while.
type PauseCause uint8

// The causes.
const (
	PauseSlots     PauseCause = iota // a limit of connections was reached
	PauseResources                   // descriptors or memory ran out
	PauseError                       // another error of the listening socket
	pauses
)

var pauseNames = [pauses]string{"slots", "resources", "error"}

func (p PauseCause) String() string { return pauseNames[p] }

// The bounds of the classic buckets, in seconds.
var (
	durationBounds = histogram.Bounds{0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400}
	dialBounds     = histogram.Bounds{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	waitBounds     = histogram.Bounds{0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
)

// listenerCounters are those of this worker.
func (w *worker) listenerCounters(l *Listener) *listenerCounters {
	if of := w.server.ledger.Load().listeners[l.Name]; of != nil {
		return of[w.number]
	}
	return &w.uncounted.listener
}

// poolCounters are those of this worker. A dial that was in flight when its pool was removed counts
// nowhere.
func (w *worker) poolCounters(p *Pool) *poolCounters {
	if of := w.server.ledger.Load().pools[p.Name]; of != nil {
		return of[w.number]
	}
	return &w.uncounted.pool
}

// connEnded counts a connection or an arrival that has ended.
func (w *worker) connEnded(c *conn, now int64) {
	c.counts.ended[c.outcome.Side][c.outcome.Reason].add(1)
	if !c.outcome.Reason.Denied() {
		c.counts.durations.Observe(durationBounds, time.Duration(now-c.accepted))
	}
}

// dialFailures are the reasons as the backend counts them.
var dialFailures = map[Reason]backend.DialFailure{
	ReasonConnectRefused: backend.DialRefused, ReasonConnectTimeout: backend.DialTimeout,
	ReasonConnectUnreachable: backend.DialUnreachable, ReasonLocalPorts: backend.DialLocalPorts,
	ReasonNoSource:       backend.DialNoSource,
	ReasonLocalResources: backend.DialLocalResources, ReasonError: backend.DialError,
}

// countFailed counts a dial that has failed, for the pool and for the backend.
func (w *worker) countFailed(p *Pool, b *backend.Backend, result Reason) {
	w.poolCounters(p).dials[result].add(1)
	failure, known := dialFailures[result]
	if !known {
		failure = backend.DialError
	}
	b.CountFailed(failure)
}
