package proxy

import (
	"math"
	"slices"

	"l4proxy/backend"
)

// search is what a connection has to remember while it looks for a backend. Most are served by the first one, and have
// none.
type search struct {
	tried  []*backend.Backend // those that failed for this client
	failed []FailedDial       // the same for the log, including those before a wait in the queue
	hedge  *hedge             // the second dial for the client, nil if there is none
	ticket *ticket            // stateQueued; see queue.go
	// waitUntil is when waiting for a place ends, once it has begun.
	waitUntil int64
}

// tried are the backends that failed for this client.
func (c *conn) tried() []*backend.Backend {
	if c.search == nil {
		return nil
	}
	return c.search.tried
}

// maxFailedKept bounds the failed dials that the log names, the latest ones: a client that waits in the queue for
// hours may have many.
const maxFailedKept = 16

// noteFailed notes that a dial for the client has failed.
func (s *search) noteFailed(b *backend.Backend, reason Reason) {
	s.tried = append(s.tried, b)
	if len(s.failed) > maxFailedKept { // one more than the log names: it may leave out the last
		s.failed = slices.Delete(s.failed, 0, 1)
	}
	s.failed = append(s.failed, FailedDial{b, reason})
}

// searchOver forgets the search, except for what the log needs.
func (c *conn) searchOver() {
	if c.search == nil || len(c.search.failed) == 0 {
		c.search = nil
		return
	}
	*c.search = search{failed: c.search.failed}
}

// failedBefore returns the dials that failed before the last one. The last is in the connection's backend and outcome.
func (c *conn) failedBefore() []FailedDial {
	if c.search == nil {
		return nil
	}
	failed := c.search.failed
	if n := len(failed); n > 0 && c.connected == 0 && failed[n-1] == (FailedDial{c.backend, c.outcome.Reason}) {
		failed = failed[:n-1]
	}
	return failed[max(0, len(failed)-maxFailedKept):]
}

// countAttempt counts a dial. A client that waits in a queue for hours may have more than
// can be counted.
func (c *conn) countAttempt() {
	if c.attempts < math.MaxUint8 {
		c.attempts++
	}
}

// searching returns what is remembered of the search, from now on.
func (c *conn) searching() *search {
	if c.search == nil {
		c.search = new(search)
	}
	return c.search
}
