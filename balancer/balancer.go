// Package balancer picks the backend of a pool that serves the next
// connection.
//
// A policy's own file holds its order among the available backends and nothing
// else. What all policies share is in the others: who is available and why not
// (member.go), tiers of backends that serve before others (tier.go), ejection
// of those whose connections fail (outlier.go), slow start (slowstart.go), and
// clients who wait for a place (queue.go). pool.go holds it together.
package balancer

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"l4proxy/backend"
)

// MaxWeight is the largest weight of a backend. Up to it least_conn compares
// loads exactly.
const MaxWeight = 65535

// slowStartSteps is by how much weights grow when backends start slowly, so
// that a part of a weight of 1 is a number too.
const slowStartSteps = 64

// Options say how a pool picks. Times are nanoseconds.
type Options struct {
	// Policy is one of Names.
	Policy string
	// Seed is that of chance: the same seed gives the same picks.
	Seed uint64
	// HashSeed makes the hashes of source_hash and maglev: proxies with the
	// same one, and the same backends, pick the same backend for a client.
	HashSeed string
	// MaxLoad is the most that source_hash gives a backend, in percent of its
	// fair share of the connections; 0 means no bound.
	MaxLoad int
	// SlowStart is how long a backend that has come back takes until it gets
	// its whole share; 0 gives it at once.
	SlowStart time.Duration
	// Outlier ejects backends whose connections fail; nil does not.
	Outlier *Outlier
	// PanicThreshold is the share of backends, in percent, at or below which
	// health and ejections are ignored: the checks may be what is broken.
	PanicThreshold int
	// Queue is the most clients that wait for a place.
	Queue int
	// Notify is told what the balancer finds out by itself. It must not block
	// and must not call the Balancer; any goroutine may call it. nil: nobody
	// is told.
	Notify func(Event)
}

// Request is a connection that asks for a backend.
type Request struct {
	Now int64 // nanoseconds of a monotonic clock, the same in all calls
	// Client is the client's address, for the policies that look at it; the
	// zero value for a client on a unix socket.
	Client netip.Addr
	// Tried are the backends that this client has tried, a few at most.
	Tried []*backend.Backend
	// OnlyAvailable asks for none that is left aside, not even to probe it.
	OnlyAvailable bool
	// Beside asks for an available backend that is as good as this one, which
	// is being dialled for the same client; nil for a first dial.
	Beside *backend.Backend
	// Waiter waits when all who could serve are full, if the pool has a queue;
	// nil does not wait.
	Waiter Waiter
	// WaitForAny lets the Waiter wait also when nobody can serve.
	WaitForAny bool
	// Again puts the Waiter at the head of the queue: it has had its turn.
	Again bool
}

// A Verdict is what became of a Request.
type Verdict uint8

// The verdicts.
const (
	Picked    Verdict = iota // a backend was picked, and the connection counted on it
	NoBackend                // nobody can serve
	Waiting                  // Waiter.Granted will be called, unless Leave is called before
	QueueFull                // those who could serve are full, and so is the queue
)

// An EventKind is something that a balancer finds out by itself.
type EventKind uint8

// The kinds of events.
const (
	BackedOff   EventKind = iota // a dial failed; Until is the time of the next probe
	Recovered                    // a backend in backoff answered a dial
	Ejected                      // connections failed in a row, Count of them; Until is the end
	Returned                     // the ejection is over
	ClientWaits                  // the queue is not empty any more
)

// Event tells what happened to a backend.
type Event struct {
	Kind    EventKind
	Backend *backend.Backend // nil for ClientWaits
	Now     int64
	Until   int64
	Count   int
}

// choosers are the policies by their names in the configuration.
var choosers = map[string]func(m *members, o chooserOptions) chooser{
	"first":       newFirst,
	"least_conn":  newLeastConn,
	"maglev":      newMaglev,
	"p2c":         newP2C,
	"random":      newRandom,
	"round_robin": newRoundRobin,
	"source_hash": newSourceHash,
}

// hashing are the policies that look at the client's address.
var hashing = []string{"maglev", "source_hash"}

// Names returns the names of the policies, sorted.
func Names() []string {
	return slices.Sorted(maps.Keys(choosers))
}

// New returns a Balancer over backends, each with its place in the slice as
// Index and a Weight of 1 to MaxWeight (1,023 with a slow start). The slice is
// kept. With no backends, nothing is ever picked.
func New(backends []*backend.Backend, o Options) (*Balancer, error) {
	build, ok := choosers[o.Policy]
	if !ok {
		return nil, fmt.Errorf("unknown policy %q: one of %s", o.Policy, strings.Join(Names(), ", "))
	}
	unit := 1
	if o.SlowStart > 0 {
		unit = slowStartSteps
	}
	for i, b := range backends {
		if b.Index != i {
			return nil, fmt.Errorf("backend %s has index %d at place %d", b.Address, b.Index, i)
		}
		if b.Weight < 1 || b.Weight > MaxWeight/unit {
			return nil, fmt.Errorf("backend %s has weight %d: from 1 to %d", b.Address, b.Weight, MaxWeight/unit)
		}
	}
	return newBalancer(backends, o, build, uint32(unit)), nil
}
