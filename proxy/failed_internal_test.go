package proxy

import (
	"slices"
	"testing"

	"l4proxy/backend"
)

// TestLogNamesTheLatestFailedDials: of many failed dials, the log lists the latest ones. Their
// number is the same whether or not the last one is the outcome itself.
func TestLogNamesTheLatestFailedDials(t *testing.T) {
	backends := make([]backend.Backend, 3*maxFailedKept)
	for n := range len(backends) {
		c := &conn{search: new(search)}
		for i := range n {
			c.backend, c.outcome.Reason = &backends[i], ReasonConnectRefused
			c.search.noteFailed(c.backend, c.outcome.Reason)
		}
		for connected, before := range []int{max(0, n-1), n} {
			c.connected = int64(connected)
			var want []FailedDial
			for i := max(0, before-maxFailedKept); i < before; i++ {
				want = append(want, FailedDial{&backends[i], ReasonConnectRefused})
			}
			if got := c.failedBefore(); !slices.Equal(got, want) {
				t.Errorf("%d failed, connected %d: the log names %d, want the latest %d", n, connected, len(got), len(want))
			}
		}
	}
}
