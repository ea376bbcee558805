// Package balancer picks the backend of a pool that serves the next connection.
//
// The file of a policy holds its order among the available backends and nothing else. The other
// files hold what all policies share:
//   - pool.go: the Balancer, and a client's way to a backend
//   - result.go: what connections, dials and health checks report
//   - update.go: other members or other options for a live Balancer
//   - member.go: which backends are available
//   - tier.go: backends that serve before others
//   - outlier.go, trial.go: ejection of backends whose connections fail
//   - slowstart.go: weights that grow
//   - queue.go: clients that wait while all backends are full
package balancer

import (
	"net/netip"
	"time"

	"l4proxy/backend"
)

// MaxWeight is the largest weight of a backend. Up to it least_conn compares loads exactly.
const MaxWeight = 65535

// slowStartSteps is the factor of all weights in a pool with a slow start, so that a part of a
// weight of 1 is a number too.
const slowStartSteps = 64

// Member is a backend in a pool, with what the pool configures for it.
type Member struct {
	*backend.Backend
	// Weight is its share of the pool's connections, relative to the others: from 1 to MaxWeight,
	// or to 1,023 with a slow start.
	Weight int
	// MaxConnections is the most connections at once; 0 means no limit.
	MaxConnections int32
	// Priority orders the members of a pool. The lowest number serves as long as one of its members
	// can; the others are its backups.
	Priority uint8
	// Far members are in another zone than the proxy. Within a priority, the near ones serve as
	// long as one of them can.
	Far bool
}

// Options configure how a pool picks.
type Options struct {
	// Policy is one of Names.
	Policy string
	// Seed makes chance repeatable: the same seed gives the same picks.
	Seed uint64
	// HashSeed is the seed of the hashes of source_hash and maglev. Proxies with the same seed and
	// the same backends pick the same backend for a client.
	HashSeed string
	// MaxLoad is the most that source_hash gives a backend, in percent of its fair share of the
	// connections; 0 means no bound.
	MaxLoad int
	// SlowStart is how long a backend that is back, or new, takes to reach its whole share; 0 gives
	// it at once.
	SlowStart time.Duration
	// Outlier ejects backends whose connections fail; nil ejects none.
	Outlier *Outlier
	// PanicThreshold is a share of the backends, in percent. With that many usable ones or fewer,
	// health and ejections are ignored: the checks may be what is broken.
	PanicThreshold int
	// MaxConnections is the most connections of the pool at once; 0 means no limit. With that many,
	// it is as if all backends were full.
	MaxConnections int64
	// Queue is the most clients that wait while all backends are full.
	Queue int
}

// Request is a connection that asks for a backend.
type Request struct {
	Now int64 // nanoseconds of a monotonic clock, the same in all calls
	// Client is the client's address, for the policies that hash it; the zero value for a client on
	// a unix socket.
	Client netip.Addr
	// Tried are the backends that this client has tried, a few at most.
	Tried []*backend.Backend
	// OnlyAvailable excludes backends in backoff, even if one is due for a probe.
	OnlyAvailable bool
	// Beside asks for an available backend of the same tier as this one, which is being dialled for
	// the same client; nil for a first dial.
	Beside *backend.Backend
	// Waiter waits when all backends that could serve are full, if the pool has a queue; nil does
	// not wait.
	Waiter Waiter
	// WaitForAny lets the Waiter wait also when no backend can serve.
	WaitForAny bool
	// Again puts the Waiter at the head of the queue: it has had its turn.
	Again bool
}

// A Verdict is the result of a Request.
type Verdict uint8

// The verdicts.
const (
	Picked    Verdict = iota // a backend was picked, and the connection counted on it
	NoBackend                // no backend can serve
	Waiting                  // Waiter.Granted will be called, unless Leave is called before
	QueueFull                // the backends that could serve are full, and so is the queue
)

// An EventKind is something that a balancer finds out by itself.
type EventKind uint8

// The kinds of events.
const (
	BackedOff   EventKind = iota // a dial failed; Until is the time of the next probe
	Recovered                    // a backend in backoff answered a dial
	Ejected                      // connections failed in a row, Count of them; Until is the end
	Returned                     // the ejection is over
	ClientWaits                  // the queue is no longer empty
)

// Event reports what happened to a backend.
type Event struct {
	Kind    EventKind
	Backend *backend.Backend // nil for ClientWaits
	Now     int64
	Until   int64
	Count   int
}
