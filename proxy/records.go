package proxy

import "sync/atomic"

// recordsKept finished connections can wait for the recorder on each worker: a power of two. At
// 20,000 connections per second, that is 100 ms.
const recordsKept = 2048

// ring carries records and steps from a loop to the recorder's goroutine, one writer and one
// reader, without a lock. When the reader is behind, records are dropped and counted: a log must
// not hold up a connection.
type ring[T any] struct {
	kept  uint64 // length of slots, once there are any: a power of two
	slots []T
	tail  uint64 // written by the loop; published by publish
	_     [64]byte
	// published and taken are the ring's state as the other side sees it.
	published atomic.Uint64
	_         [64]byte
	taken     atomic.Uint64
	dropped   atomic.Uint64
	reported  uint64 // of dropped, by the reader
}

// room is how many more records fit.
func (r *ring[T]) room() int { return int(r.kept - (r.tail - r.taken.Load())) }

// next returns the slot for a record, nil when none is free.
func (r *ring[T]) next() *T {
	if r.slots == nil {
		r.slots = make([]T, r.kept)
	}
	if r.room() == 0 {
		r.dropped.Add(1)
		return nil
	}
	r.tail++
	return &r.slots[(r.tail-1)&(r.kept-1)]
}

// many reports whether there are enough unpublished records for the reader to begin before the
// batch ends.
func (r *ring[T]) many() bool { return r.tail-r.published.Load() >= r.kept/8 }

// publish shows the records of a batch to the reader, and wakes it if there are any. urgent: the
// ring is half full.
func (r *ring[T]) publish(wake func(urgent bool)) {
	if r.published.Load() != r.tail {
		r.published.Store(r.tail)
		wake(r.room() <= int(r.kept/2))
	}
}

// drain passes on the records before end, which are published, and then how many have been dropped
// since the last call. It reports whether there was anything.
func (r *ring[T]) drain(end uint64, read func(*T), lost func(uint64)) bool {
	dropped := r.dropped.Load()
	first := r.taken.Load()
	for i := first; i < end; i++ {
		slot := &r.slots[i&(r.kept-1)]
		read(slot)
		*slot = *new(T) // keeps nothing alive
		r.taken.Store(i + 1)
	}
	if dropped == r.reported {
		return first != end
	}
	if lost != nil {
		lost(dropped - r.reported)
	}
	r.reported = dropped
	return true
}
