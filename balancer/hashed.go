package balancer

import (
	"cmp"
	"math"
	"slices"
)

// hashed is what the policies that hash the client have in common: which members are available, and
// for which keys. search.go finds one of them for a key.
//
// Members are known here by their rank, their position when sorted by name, so that proxies which
// list them in other orders choose the same.
type hashed struct {
	members *members
	ranks   []int32  // by index
	ranked  []ranked // by rank
	names   []uint64 // hashes of the names, by rank
	weights tally    // of the available, by rank
	maxLoad uint64   // percent of the fair share; 0 is no bound
	active  tally    // connections of the available, by rank; only with a bound
	held    []int    // indexes that hold has taken out
}

// ranked is what a search needs to know about each member that it meets.
type ranked struct {
	// admits is 0 while the member is not available, and allKeys unless it starts slowly.
	admits uint32
	index  int32
}

// allKeys admits each key.
const allKeys = math.MaxUint32

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
		h.ranked[i].index = int32(i)
	}
	slices.SortStableFunc(h.ranked, func(a, b ranked) int {
		return cmp.Compare(m.backends[a.index].Address, m.backends[b.index].Address)
	})
	configured := make([]named, n)
	for rank, r := range h.ranked {
		hash := o.HashSeed.backend(m.backends[r.index].Address)
		configured[rank] = named{hash, m.full[r.index]}
		h.names[rank] = hash[2]
		h.ranks[r.index] = int32(rank)
	}
	return h, configured
}

func (h *hashed) picked(int) {}

func (h *hashed) add(i int) {
	rank := h.ranks[i]
	weight, full := h.members.weights[i], h.members.full[i]
	admits := uint32(allKeys)
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

// hold takes out those of tried that are available, until putBack: this client must not get them.
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

// clone shares the ranks and names, which never change.
func (h *hashed) clone(m *members) hashed {
	twin := *h
	twin.members, twin.ranked, twin.held = m, slices.Clone(h.ranked), nil
	twin.weights, twin.active = h.weights.clone(), h.active.clone()
	return twin
}
