package balancer

import "math/bits"

// search is the path of a key through the members. The order depends only on the policy, the key
// and the names of the members. It ends at the first member that is available: a member that comes
// or goes moves only its own keys.
type search struct {
	key uint64
	// Of the members met that start slowly: the one that will be the first to admit the key, and by
	// which factor its weight has to grow until then; 0 if none was met.
	soonest int
	growth  float64
}

// takes reports whether rank, the next in the order of s, takes its key.
//
// A member that starts slowly admits a part of the keys. As its weight grows, keys are added and
// none is taken away: a client that came to it stays.
func (h *hashed) takes(s *search, rank int) bool {
	admits := h.ranked[rank].admits
	if admits == 0 || h.maxLoad > 0 && !h.hasRoom(h.part(rank)) {
		return false
	}
	if admits == allKeys {
		return true
	}
	ticket := uint32(mix(s.key ^ h.names[rank]))
	if ticket < admits {
		return true
	}
	if growth := float64(ticket) / float64(admits); s.growth == 0 || growth < s.growth {
		s.soonest, s.growth = rank, growth
	}
	return false
}

// otherwise returns the index for a key that no member took during its search: all start slowly, or
// nearly all are not available or have no room. It returns -1 if no member is available.
func (h *hashed) otherwise(s *search) int {
	switch {
	case s.growth > 0:
		return int(h.ranked[s.soonest].index)
	case h.weights.total > 0:
		return int(h.ranked[h.descend(s.key)].index)
	}
	return -1
}

// descend finds a member for a key in O(log n), however few are available. At each node of the tree
// the hash of key and node decides between its halves by their weights. A member that comes or goes
// changes only the nodes above it, and at each of them no more keys change sides than its share.
func (h *hashed) descend(key uint64) int {
	rank := 0
	all := h.all()
	for step := h.weights.root(); step > 0; step >>= 1 {
		k := rank + step
		if k >= len(h.weights.sums) {
			continue
		}
		left := part{weight: h.weights.sums[k]}
		if h.maxLoad > 0 {
			left.active = h.active.sums[k]
		}
		right := part{all.weight - left.weight, all.active - left.active}
		// If all have room, one of the halves has it too.
		x, _ := bits.Mul64(mix(key^uint64(k)*golden), all.weight)
		if x < left.weight && h.hasRoom(left) || !h.hasRoom(right) {
			all = left
		} else {
			all = right
			rank = k
		}
	}
	return rank
}

// part is some of the available members together.
type part struct{ weight, active uint64 }

func (h *hashed) all() part { return part{h.weights.total, h.active.total} }

func (h *hashed) part(rank int) part {
	return part{uint64(h.weights.of[rank]), uint64(h.active.of[rank])}
}

// hasRoom reports whether p may have one connection more: up to its share by weight, times maxLoad,
// of all connections with that one, rounded up (Mirrokni, Thorup and Zadimoghaddam, "Consistent
// hashing with bounded loads", 2018). All together always have room.
func (h *hashed) hasRoom(p part) bool {
	if h.maxLoad == 0 {
		return true
	}
	// active+1 <= ceil(x) is active < x. The products pass 64 bits.
	all := h.all()
	haveHigh, have := bits.Mul64(p.active, all.weight*100)
	mayHigh, may := bits.Mul64(p.weight, (all.active+1)*h.maxLoad)
	return haveHigh < mayHigh || haveHigh == mayHigh && have < may
}
