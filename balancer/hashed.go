package balancer

import (
	"cmp"
	"math"
	"slices"
)

// hashed is what the policies that go by the client's hash have in common: who
// is available, and to whom. search.go finds one of them for a key.
//
// Members are known here by their rank, their place when they are sorted by
// name: proxies that have them in other orders choose alike.
type hashed struct {
	members *members
	ranks   []int32  // by place
	ranked  []ranked // by rank
	names   []uint64 // hashes of the names, by rank
	weights tally    // of the available, by rank
	maxLoad uint64   // percent of the fair share; 0 is no bound
	active  tally    // connections of the available, by rank; only with a bound
	held    []int    // places that hold has taken out
}

// ranked is what a look-up needs to know of each member that it meets.
type ranked struct {
	// admits is 0 while the member is not available, and everybody unless it
	// starts slowly.
	admits uint32
	place  int32
}

// everybody admits each key.
const everybody = math.MaxUint32

// named is a configured member, from which an order of members is built.
type named struct {
	hash [3]uint64
	full uint32
}

// newHashed also returns the members by rank.
func newHashed(m *members, o chooserOptions) (hashed, []named) {
	n := len(m.backends)
	h := hashed{
		members: m,
		ranks:   make([]int32, n),
		ranked:  make([]ranked, n),
		names:   make([]uint64, n),
		weights: newTally(n),
	}
	for i := range h.ranked {
		h.ranked[i].place = int32(i)
	}
	slices.SortStableFunc(h.ranked, func(a, b ranked) int {
		return cmp.Compare(m.backends[a.place].Address, m.backends[b.place].Address)
	})
	configured := make([]named, n)
	for rank, r := range h.ranked {
		hash := o.HashSeed.backend(m.backends[r.place].Address)
		configured[rank] = named{hash, m.full[r.place]}
		h.names[rank] = hash[2]
		h.ranks[r.place] = int32(rank)
	}
	return h, configured
}

func (h *hashed) picked(int) {}

func (h *hashed) add(i int) {
	rank := h.ranks[i]
	weight, full := h.members.weights[i], h.members.full[i]
	admits := uint32(everybody)
	if weight < full {
		admits = uint32(uint64(weight) << 32 / uint64(full))
	}
	h.ranked[rank].admits = admits
	h.weights.set(int(rank), weight)
	if h.maxLoad > 0 {
		h.count(i)
	}
}

func (h *hashed) remove(i int) {
	rank := h.ranks[i]
	h.ranked[rank].admits = 0
	h.weights.set(int(rank), 0)
	if h.maxLoad > 0 {
		h.active.set(int(rank), 0)
	}
}

// count notes how many connections the available i has.
func (h *hashed) count(i int) {
	h.active.set(int(h.ranks[i]), uint32(h.members.backends[i].Active()))
}

// hold takes out those of tried that are available, until putBack: to this
// client they are not.
func (h *hashed) hold(tried []int) {
	for _, i := range tried {
		if h.ranked[h.ranks[i]].admits != 0 {
			h.held = append(h.held, i)
			h.remove(i)
		}
	}
}

func (h *hashed) putBack() {
	for _, i := range h.held {
		h.add(i)
	}
	h.held = h.held[:0]
}
