package balancer

import "l4proxy/backend"

// chooser is the part in which policies differ: which of the available members
// is next. It is called under the pool's lock. At construction nobody is
// available.
type chooser interface {
	// next returns the place of the available member whose turn it is, without
	// those tried; -1 if there is none. It changes nobody's turn.
	next(r request) int
	// picked follows next when the connection has been counted.
	picked(i int)
	// add makes i available.
	add(i int)
	// remove takes the available i out.
	remove(i int)
}

// releaser is a chooser whose order depends on the number of connections.
type releaser interface {
	// released follows each connection of the available i that has ended.
	released(i int)
}

// request is what a choice may depend on.
type request struct {
	key   uint64 // clientKey of the client; only hash policies look at it
	tried []int  // places that this client has tried; nil for nearly all
}

// members are the backends among which a chooser chooses. Each has its place in
// all three slices.
type members struct {
	backends []*backend.Backend
	// weights are what counts now: less than the whole while a member starts
	// slowly, never 0. They change only while the member is not available.
	weights []uint32
	// full are the whole weights, in the same unit, up to MaxWeight. They never
	// change.
	full []uint32
}

// chooserOptions are what the constructors of policies need to know.
type chooserOptions struct {
	Seed     uint64 // of chance
	HashSeed *seed
	MaxLoad  int // percent of the fair share; 0 is no bound
}
