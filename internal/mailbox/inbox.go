package mailbox

// Inbox is a Box for a reader that waits in a select. Make one with NewInbox.
type Inbox[T any] struct {
	// Ready has a token when there may be something to take.
	Ready chan struct{}
	box   Box[T]
}

// NewInbox returns an empty Inbox.
func NewInbox[T any]() *Inbox[T] { return &Inbox[T]{Ready: make(chan struct{}, 1)} }

// Post puts a value in.
func (i *Inbox[T]) Post(value T) {
	if !i.box.Post(value) {
		return // the token of the first value is there, or the reader is about to take all
	}
	select {
	case i.Ready <- struct{}{}:
	default: // the token was not received yet
	}
}

// TakeAll empties the Inbox, oldest first.
func (i *Inbox[T]) TakeAll(read func(T)) { i.box.TakeAll(read) }

// Take is TakeAll into a slice.
func (i *Inbox[T]) Take() (values []T) {
	i.TakeAll(func(v T) { values = append(values, v) })
	return values
}
