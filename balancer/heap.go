package balancer

import "slices"

// indexHeap is a binary min-heap of some of a pool's backends, by their
// indexes, in which each can be found. container/heap would call through an
// interface and could not keep the keys side by side.
type indexHeap struct {
	nodes  []node
	places []int32 // of backend i in nodes; -1 if it is not in the heap
	held   []node  // scratch of minExcept
}

// node is one backend in the heap. Of equal keys the smaller tie is first.
type node struct {
	key, tie uint64
	index    int32
}

// before compares by the sign of the difference, like TCP sequence numbers (RFC
// 1982), so that keys and ties that count up forever may wrap around.
func (n *node) before(o *node) bool {
	if d := int64(n.key - o.key); d != 0 {
		return d < 0
	}
	return int64(n.tie-o.tie) < 0
}

// newIndexHeap returns an empty heap with room for all backends.
func newIndexHeap(n int) *indexHeap {
	h := &indexHeap{
		nodes:  make([]node, 0, n),
		places: make([]int32, n),
	}
	for i := range h.places {
		h.places[i] = -1
	}
	return h
}

// min returns the first backend, or -1 if the heap is empty.
func (h *indexHeap) min() int {
	if len(h.nodes) == 0 {
		return -1
	}
	return int(h.nodes[0].index)
}

// minExcept returns the first backend that is not in tried, or -1.
func (h *indexHeap) minExcept(tried []int) int {
	if len(tried) == 0 {
		return h.min()
	}
	// The few tried ones that stand before the answer are taken out and put
	// back.
	h.held = h.held[:0]
	found := -1
	for len(h.nodes) > 0 {
		i := h.min()
		if !slices.Contains(tried, i) {
			found = i
			break
		}
		h.held = append(h.held, h.nodes[0])
		h.remove(i)
	}
	for _, n := range h.held {
		h.set(int(n.index), n.key, n.tie)
	}
	return found
}

// has reports whether i is in the heap.
func (h *indexHeap) has(i int) bool { return h.places[i] >= 0 }

// key returns the key of i, which is in the heap.
func (h *indexHeap) key(i int) uint64 { return h.nodes[h.places[i]].key }

// tie returns the tie of i, which is in the heap.
func (h *indexHeap) tie(i int) uint64 { return h.nodes[h.places[i]].tie }

// set gives i, which may be new, its place.
func (h *indexHeap) set(i int, key, tie uint64) {
	n := node{key, tie, int32(i)}
	place := int(h.places[i])
	if place < 0 {
		h.nodes = append(h.nodes, n)
		h.up(n, len(h.nodes)-1)
		return
	}
	h.move(n, place)
}

// remove takes out i, which is in the heap.
func (h *indexHeap) remove(i int) {
	place := int(h.places[i])
	last := len(h.nodes) - 1
	n := h.nodes[last]
	h.nodes = h.nodes[:last]
	h.places[i] = -1
	if place < last {
		h.move(n, place)
	}
}

// move puts n at the free place or where it belongs above or below.
func (h *indexHeap) move(n node, place int) {
	if place > 0 && n.before(&h.nodes[(place-1)/2]) {
		h.up(n, place)
	} else {
		h.down(n, place)
	}
}

// up puts n at place or above.
func (h *indexHeap) up(n node, place int) {
	for place > 0 {
		parent := (place - 1) / 2
		if !n.before(&h.nodes[parent]) {
			break
		}
		h.put(h.nodes[parent], place)
		place = parent
	}
	h.put(n, place)
}

// down puts n at place or below.
func (h *indexHeap) down(n node, place int) {
	for {
		child := 2*place + 1
		if child >= len(h.nodes) {
			break
		}
		if child+1 < len(h.nodes) && h.nodes[child+1].before(&h.nodes[child]) {
			child++
		}
		if !h.nodes[child].before(&n) {
			break
		}
		h.put(h.nodes[child], place)
		place = child
	}
	h.put(n, place)
}

func (h *indexHeap) put(n node, place int) {
	h.nodes[place] = n
	h.places[n.index] = int32(place)
}
