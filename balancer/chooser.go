package balancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"l4proxy/backend"
)

// policy is how one policy is made.
type policy struct {
	build  func(m *members, o chooserOptions) chooser
	hashes bool // it looks at the client's address
	draws  bool // it decides by chance
}

// policies are all policies, by their names in the configuration.
var policies = map[string]policy{
	"first":       {build: newFirst},
	"least_conn":  {build: newLeastConn},
	"maglev":      {build: newMaglev, hashes: true},
	"p2c":         {build: newP2C, draws: true},
	"random":      {build: newRandom, draws: true},
	"round_robin": {build: newRoundRobin},
	"source_hash": {build: newSourceHash, hashes: true},
}

// Names returns the names of the policies, sorted.
func Names() []string {
	return slices.Sorted(maps.Keys(policies))
}

func policyNamed(name string) (policy, error) {
	p, ok := policies[name]
	if !ok {
		return policy{}, fmt.Errorf("unknown policy %q: one of %s", name, strings.Join(Names(), ", "))
	}
	return p, nil
}

// chooser is the part in which policies differ: which of the available members is next. It is
// called under the pool's lock. When it is made, no member is available.
type chooser interface {
	// next returns the index of the available member whose turn it is, except those tried; -1 if
	// there is none. It changes no turns.
	next(r request) int
	// picked follows next when the connection has been counted.
	picked(i int)
	// add makes i available.
	add(i int)
	// remove takes the available i out.
	remove(i int)
	// clone returns a chooser with the same turns over m, a copy of the members. What happens to
	// one makes no difference to the other. It copies what changes and shares the rest.
	clone(m *members) chooser
}

// recounter is a chooser whose order depends on the number of connections.
type recounter interface {
	// recount follows each change of the number of connections of the available i that is not a
	// pick.
	recount(i int)
}

// successor is a chooser that carries on where another one, with other members, ends.
type successor interface {
	// succeed takes over the turns of old. The member i was the member was[i] of old; -1 if it is
	// new. Those available have been added.
	succeed(old chooser, was []int)
}

// request is what a choice may depend on.
type request struct {
	key   uint64 // clientKey of the client; only hash policies look at it
	tried []int  // indexes that this client has tried; nil for nearly all
}

// members are the backends among which a chooser chooses. Each has the same index in all three
// slices.
type members struct {
	backends []*backend.Backend
	// weights are what counts now: less than the whole while a member starts slowly, never 0. They
	// change only while the member is not available.
	weights []uint32
	// full are the whole weights, in the same unit, up to MaxWeight. They never change.
	full []uint32
}

// chooserOptions are what the constructors of policies need.
type chooserOptions struct {
	Seed     uint64 // of chance
	HashSeed *seed
	MaxLoad  int // percent of the fair share; 0 is no bound
}
