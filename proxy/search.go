package proxy

import (
	"math"
	"slices"

	"l4proxy/backend"
)

// search is what a connection has to remember while it looks for a backend. It is nil for most
// connections, because their first backend serves them.
type search struct {
	tried  []*backend.Backend // backends that failed for this client
	failed []FailedDial       // the same for the log, including those before a wait in the queue
	// sources is how many source addresses the dial in flight has tried and found without a port.
	sources uint32
	hedge   *hedge  // the second dial for the client, nil if there is none
	ticket  *ticket // stateQueued; see queue.go
	// waitUntil is when the wait in the queue ends; 0 before the first wait.
	waitUntil int64
	waiting   int64  // since when the client waits in the queue; 0 while it does not
	turn      uint64 // orders the clients that wait; 0 before the first wait
}

// tried are the backends that failed for this client.
func (c *conn) tried() []*backend.Backend {
	if c.search == nil {
		return nil
	}
	return c.search.tried
}

// maxFailedKept limits the failed dials that the log lists to the latest ones: a client that waits
// in the queue for hours may have many.
const maxFailedKept = 16

// noteFailed notes that a dial for the client has failed.
func (s *search) noteFailed(b *backend.Backend, reason Reason) {
	s.tried = append(s.tried, b)
	// Keep one more than the log lists, because failedBefore may omit the last one.
	if len(s.failed) > maxFailedKept {
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

// failedBefore returns the dials that failed before the last one. The last one is in the
// connection's backend and outcome.
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

// countAttempt counts a dial. A client that waits in a queue for hours may have more dials than the
// counter can hold.
func (c *conn) countAttempt() {
	if c.attempts < math.MaxUint8 {
		c.attempts++
	}
}

// searching returns the connection's search, and creates it if there is none.
func (c *conn) searching() *search {
	if c.search == nil {
		c.search = new(search)
	}
	return c.search
}
