// Package iheap is a binary min-heap of items that are known by small numbers, in which each item
// can be found. container/heap would call through an interface and could not keep the keys side by
// side.
package iheap

import "slices"

// Heap holds items by their keys. Its zero value is empty and ready.
type Heap struct {
	nodes     []node
	positions []int32 // of item i in nodes; -1 if it is not in the heap
	held      []node  // scratch of MinExcept
}

// node is an item. Of equal keys the smaller tie is first.
type node struct {
	key, tie uint64
	item     int32
}

// before compares by the sign of the difference, like TCP sequence numbers (RFC 1982), so that keys
// and ties that count up forever may wrap around.
func (n *node) before(o *node) bool {
	if d := int64(n.key - o.key); d != 0 {
		return d < 0
	}
	return int64(n.tie-o.tie) < 0
}

// New returns an empty heap with room for the items 0 to n-1. It grows for others.
func New(n int) *Heap {
	h := &Heap{nodes: make([]node, 0, n), positions: make([]int32, 0, n)}
	h.grow(n)
	return h
}

// Clone returns a heap with the same items.
func (h *Heap) Clone() *Heap {
	return &Heap{nodes: slices.Clone(h.nodes), positions: slices.Clone(h.positions)}
}

func (h *Heap) grow(n int) {
	for len(h.positions) < n {
		h.positions = append(h.positions, -1)
	}
}

// Min returns the first item, or -1 if the heap is empty.
func (h *Heap) Min() int {
	if len(h.nodes) == 0 {
		return -1
	}
	return int(h.nodes[0].item)
}

// MinExcept returns the first item that is not in skip, or -1.
func (h *Heap) MinExcept(skip []int) int {
	if len(skip) == 0 {
		return h.Min()
	}
	// The few items of skip that stand before the answer are taken out and put back.
	h.held = h.held[:0]
	found := -1
	for len(h.nodes) > 0 {
		i := h.Min()
		if !slices.Contains(skip, i) {
			found = i
			break
		}
		h.held = append(h.held, h.nodes[0])
		h.Remove(i)
	}
	for _, n := range h.held {
		h.Set(int(n.item), n.key, n.tie)
	}
	return found
}

// Has reports whether item i is in the heap.
func (h *Heap) Has(i int) bool { return i < len(h.positions) && h.positions[i] >= 0 }

// Key returns the key of item i, which is in the heap.
func (h *Heap) Key(i int) uint64 { return h.nodes[h.positions[i]].key }

// Tie returns the tie of item i, which is in the heap.
func (h *Heap) Tie(i int) uint64 { return h.nodes[h.positions[i]].tie }

// Set puts item i into the heap, or moves it to where its new key belongs.
func (h *Heap) Set(i int, key, tie uint64) {
	if i >= len(h.positions) {
		h.grow(i + 1)
	}
	n := node{key, tie, int32(i)}
	position := int(h.positions[i])
	if position < 0 {
		h.nodes = append(h.nodes, n)
		h.up(n, len(h.nodes)-1)
		return
	}
	h.move(n, position)
}

// Remove takes item i out, if it is in the heap.
func (h *Heap) Remove(i int) {
	if !h.Has(i) {
		return
	}
	position := int(h.positions[i])
	last := len(h.nodes) - 1
	n := h.nodes[last]
	h.nodes = h.nodes[:last]
	h.positions[i] = -1
	if position < last {
		h.move(n, position)
	}
}

// move puts n at the free position or where it belongs above or below.
func (h *Heap) move(n node, position int) {
	if position > 0 && n.before(&h.nodes[(position-1)/2]) {
		h.up(n, position)
	} else {
		h.down(n, position)
	}
}

// up puts n at position or above.
func (h *Heap) up(n node, position int) {
	for position > 0 {
		parent := (position - 1) / 2
		if !n.before(&h.nodes[parent]) {
			break
		}
		h.put(h.nodes[parent], position)
		position = parent
	}
	h.put(n, position)
}

// down puts n at position or below.
func (h *Heap) down(n node, position int) {
	for {
		child := 2*position + 1
		if child >= len(h.nodes) {
			break
		}
		if child+1 < len(h.nodes) && h.nodes[child+1].before(&h.nodes[child]) {
			child++
		}
		if !h.nodes[child].before(&n) {
			break
		}
		h.put(h.nodes[child], position)
		position = child
	}
	h.put(n, position)
}

func (h *Heap) put(n node, position int) {
	h.nodes[position] = n
	h.positions[n.item] = int32(position)
}
