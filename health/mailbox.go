package health

import "sync"

// mailbox hands things from many goroutines to one, in order. It never blocks
// who puts something in, and holds as much as there is.
type mailbox[T any] struct {
	ready chan struct{} // has a token when there may be something to take

	mu    sync.Mutex
	items []T
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{ready: make(chan struct{}, 1)} }

func (b *mailbox[T]) put(item T) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default: // there is a token already
	}
}

// take returns all there is, oldest first.
func (b *mailbox[T]) take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
