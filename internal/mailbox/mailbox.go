// Package mailbox hands values from many goroutines to one, in order, without a lock and without
// ever blocking a sender.
package mailbox

import "sync/atomic"

// Box is a stack that senders push with one compare-and-swap and the reader takes whole. Posting
// allocates: it is for the control plane and for the rare connection that changes its loop. The
// zero value is an empty box.
type Box[T any] struct {
	top atomic.Pointer[letter[T]]
}

type letter[T any] struct {
	value T
	below *letter[T]
}

// Post puts a value in. It reports whether the box was empty: then the reader, which may be about
// to sleep, has to be woken.
func (b *Box[T]) Post(value T) (wasEmpty bool) {
	l := &letter[T]{value: value}
	for {
		below := b.top.Load()
		l.below = below
		if b.top.CompareAndSwap(below, l) {
			return below == nil // not l.below: from here on, the letter is the reader's
		}
	}
}

// TakeAll empties the box, oldest first. What is posted meanwhile comes with the next call.
func (b *Box[T]) TakeAll(read func(T)) {
	if b.top.Load() == nil {
		return
	}
	var oldest *letter[T]
	for l := b.top.Swap(nil); l != nil; {
		next := l.below
		l.below = oldest
		oldest, l = l, next
	}
	for l := oldest; l != nil; l = l.below {
		read(l.value)
	}
}
