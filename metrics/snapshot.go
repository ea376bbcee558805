package metrics

import (
	"time"

	"l4proxy/internal/histogram"
)

// Source is where the metrics come from. Several goroutines use it at once.
type Source interface {
	// Snapshot is what is known at the moment. It must not wait for an event loop.
	Snapshot() *Snapshot
}

// Snapshot is what the metrics show, as plain values. Counts of events only grow.
type Snapshot struct {
	Version, Revision, GoVersion string
	Engine                       string
	Started                      time.Time
	Ready                        bool

	Connections    int // with those that are being turned away
	MaxConnections int // 0: no limit
	Orphans        uint64

	LinesDropped, RecordsDropped uint64

	Config                        Config
	UpgradesOK, UpgradesFailed    uint64
	ListenerDrains, BackendDrains int
	Lookups, FailedLookups        uint64
	NamesFailing                  int
	Bans                          int

	Listeners []Listener // by distinct names
	Pools     []Pool     // by distinct names
	Loops     []Loop
}

// Config is what has become of the configuration.
type Config struct {
	LastOK                      bool
	Applied                     time.Time
	Generation                  uint64
	Succeeded, Failed, Rollback uint64
	Unconfirmed                 bool
}

// Listener is a listener.
type Listener struct {
	Name string
	// Removed listeners are no longer in the configuration, and still have connections.
	Removed           bool
	Open              bool
	MaxConnections    int64
	Active            int64
	Accepted          uint64
	BytesIn, BytesOut uint64
	Ended             []Ended
	Denied            []Count // by rule
	Rules             []Rule  // by distinct names and kinds
	Tarpitted         uint64
	Pauses            []Count // by cause
	BandwidthWaits    []Waits
	Durations         histogram.Snapshot
	PerClient         *PerClient // nil without limits of each client
}

// PerClient is about the limits of each client of a listener.
type PerClient struct {
	Clients, Recent int64
	Unrated         uint64
}

// Waits are the waits of connections for a limit of bandwidth.
type Waits struct {
	Direction, Limit string
	N                uint64
	Time             time.Duration
}

// Rule is a rule of an access control list, or its default.
type Rule struct {
	Name, Kind string
	Hits       uint64
	LastHit    time.Time // the zero value if there was none
}

// Ended is how many connections a side has ended for a reason.
type Ended struct {
	Side, Reason string
	N            uint64
}

// Count is a number by a word.
type Count struct {
	Word string
	N    uint64
}

// Pool is a pool.
type Pool struct {
	Name               string
	Active, Limit      int64 // Limit is 0 if there is none
	Serving, Panicking bool
	States             []Count // of its backends
	Backends           []Backend

	Retries, Hedges, HedgesWon           uint64
	Ejections, Backoffs, Pauses          uint64
	Waiting                              int
	Queued, QueueTimeouts, QueueRejected uint64
	DialTimes, Waits                     histogram.Snapshot
}

// Backend is a backend of a pool.
type Backend struct {
	Address     string // distinct within the pool
	Up, Drained bool
	Active      int64
	DialsOK     uint64
	FailedDials []Count // by reason, those that are not 0
}

// Loop is an event loop.
type Loop struct {
	Busy        time.Duration
	Delay       time.Duration
	DelayKnown  bool
	Connections int64
}
