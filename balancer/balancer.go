// Package balancer picks the backend of a pool that serves the next
// connection.
//
// Every policy leaves a backend aside whose dials fail (availability.go) and
// counts connections in the same step in which it picks (pool.go); a policy's
// own file holds its order among the available backends and nothing else.
package balancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"l4proxy/backend"
)

// Policy chooses backends for the connections of one pool. Any goroutine may
// call it. A backend belongs to one Policy: a connection gives back what it
// picked to the Policy that it got it from, also when its pool has a new one.
//
// The life of an attempt is Pick, then OK or Failed if there was a verdict,
// then Done. Times are int64 nanoseconds of one monotonic clock.
type Policy interface {
	// Pick chooses a backend and counts the connection on it in one step. It
	// never returns one of tried, the backends that this client has already
	// tried (a few at most), and nil only when there is no other.
	Pick(now int64, tried []*backend.Backend) *backend.Backend
	// Done takes back what Pick counted, when the connection or the attempt
	// has ended.
	Done(b *backend.Backend)
	// Failed tells that a dial to b was refused or timed out. A local error,
	// such as no free source port, says nothing about b: only Done follows.
	Failed(b *backend.Backend, now int64)
	// OK tells that a dial to b was answered.
	OK(b *backend.Backend)
}

// MaxWeight is the largest weight of a backend. Up to it least_conn compares
// loads exactly.
const MaxWeight = 65535

// choosers are the policies by their names in the configuration.
var choosers = map[string]func(backends []*backend.Backend, seed uint64) chooser{
	"least_conn":  newLeastConn,
	"random":      newRandom,
	"round_robin": newRoundRobin,
}

// Names returns the names of the policies, sorted.
func Names() []string {
	return slices.Sorted(maps.Keys(choosers))
}

// New returns the named policy over backends, each with its place in the slice
// as Index and a Weight of 1 to MaxWeight. The slice is kept. The same seed
// gives the same picks; only random uses it. With no backends, Pick returns
// nil.
func New(name string, backends []*backend.Backend, seed uint64) (Policy, error) {
	build, ok := choosers[name]
	if !ok {
		return nil, fmt.Errorf("unknown policy %q: one of %s", name, strings.Join(Names(), ", "))
	}
	for i, b := range backends {
		if b.Index != i {
			return nil, fmt.Errorf("backend %s has index %d at place %d", b.Address, b.Index, i)
		}
		if b.Weight < 1 || b.Weight > MaxWeight {
			return nil, fmt.Errorf("backend %s has weight %d: from 1 to %d", b.Address, b.Weight, MaxWeight)
		}
	}
	return newPool(backends, build(backends, seed)), nil
}
