package bandwidth

import "l4proxy/internal/iheap"

// A Queue returns items in the order of their keys, and equal keys in the order in which they were
// pushed. Keys may wrap around. The zero value is empty.
type Queue[T any] struct {
	heap  iheap.Heap
	items []T
	free  []int
	next  uint64
}

// Len is the number of items.
func (q *Queue[T]) Len() int { return len(q.items) - len(q.free) }

// Push adds an item, and returns a handle for [Queue.Remove].
func (q *Queue[T]) Push(key uint64, item T) (handle int) {
	if n := len(q.free); n > 0 {
		handle = q.free[n-1]
		q.free = q.free[:n-1]
		q.items[handle] = item
	} else {
		handle = len(q.items)
		q.items = append(q.items, item)
	}
	q.heap.Set(handle, key, q.next)
	q.next++
	return handle
}

// First returns the first item and its key. The queue must not be empty.
func (q *Queue[T]) First() (item T, key uint64) {
	at := q.heap.Min()
	return q.items[at], q.heap.Key(at)
}

// Pop removes the first item and returns it. The queue must not be empty.
func (q *Queue[T]) Pop() T {
	at := q.heap.Min()
	item := q.items[at]
	q.Remove(at)
	return item
}

// Remove removes an item that is in the queue.
func (q *Queue[T]) Remove(handle int) {
	var none T
	q.heap.Remove(handle)
	q.items[handle] = none
	q.free = append(q.free, handle)
}
