// Package testload puts a steady load on a proxy while a test reloads, upgrades or breaks it. It
// checks every byte and classifies every failure.
//
//	origin := testload.Serve(t, 4)
//	... start a proxy in front of origin.Addrs ...
//	load := origin.Start(t, testload.Spec{Target: front, Rate: 1000, Exchanges: 500})
//	... 200 reloads ...
//	load.Stop().MustBeClean(t)
//
// The load has five parts:
//
//   - Visits: new connections at a fixed rate. Each sends one request, reads the answer and leaves.
//     The client and the origin take turns at closing first.
//   - Exchanges: long connections that send a block at every Interval and wait for its echo.
//   - Bulk: long connections that send at BulkRate and read the echo at the same time.
//   - Slow: as Bulk, but the client reads slowly, so the buffers on the whole way stay full.
//   - HalfClosed: long connections in which one end has sent its FIN and the other one still sends.
//
// A load is bounded: it ends after Limit, even if the test never stops it. A connection that waits
// longer than Patience has failed. With -race, use about a tenth of the rate.
//
// The load is no benchmark: it shares the process and its scheduler with the origin.
package testload

import (
	"cmp"
	"time"
)

// Spec is a load. Zero values mean none, or the default.
type Spec struct {
	// Network is "tcp" or "unix"; the default is "tcp".
	Network string
	// Target is the address of the proxy.
	Target string
	// Sources is the number of client addresses, 127.1.0.1 and up, used in turn. Each has its own
	// ports. The default is 16; a unix target has no sources, and neither has one that is not in
	// 127.0.0.0/8.
	Sources int

	Rate       float64 // visits per second
	Exchanges  int     // connections of each kind
	Bulk       int
	Slow       int
	HalfClosed int // half of them after the client's FIN, half after the origin's

	// Interval is between two blocks of an exchange or of a half-closed connection. The default is
	// 100ms.
	Interval time.Duration
	// BulkRate is in bytes per second of one connection; the default is 16 MiB. A negative rate is
	// no limit.
	BulkRate int64
	// Patience is how long a visit may take, and how long any other connection may make no
	// progress. The default is 10s.
	Patience time.Duration
	// Limit is the longest time that the load lasts. The default is 2 minutes.
	Limit time.Duration
}

// withDefaults returns s with the defaults filled in.
func (s Spec) withDefaults() Spec {
	s.Network = cmp.Or(s.Network, "tcp")
	s.Sources = cmp.Or(s.Sources, 16)
	s.Interval = cmp.Or(s.Interval, 100*time.Millisecond)
	s.BulkRate = cmp.Or(s.BulkRate, 16<<20)
	s.Patience = cmp.Or(s.Patience, 10*time.Second)
	s.Limit = cmp.Or(s.Limit, 2*time.Minute)
	return s
}
