package eventloop

import "sync/atomic"

// mailbox brings values from any goroutine to the loop: a stack that senders push with one compare-and-swap and the
// loop takes whole. Posting allocates; it is for the control plane and for the rare connection that changes its loop.
type mailbox struct {
	top atomic.Pointer[letter]
}

type letter struct {
	value any
	below *letter
}

// post reports whether the box was empty, and so whether the loop has to be woken.
func (m *mailbox) post(value any) (wasEmpty bool) {
	l := &letter{value: value}
	for {
		below := m.top.Load()
		l.below = below
		if m.top.CompareAndSwap(below, l) {
			return below == nil // not l.below: from here on, the letter is the loop's
		}
	}
}

// takeAll empties the box, oldest first.
func (m *mailbox) takeAll(read func(any)) {
	if m.top.Load() == nil {
		return
	}
	var oldest *letter
	for l := m.top.Swap(nil); l != nil; {
		next := l.below
		l.below = oldest
		oldest, l = l, next
	}
	for l := oldest; l != nil; l = l.below {
		read(l.value)
	}
}
