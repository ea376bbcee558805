// Package traffic is both ends of a measurement: the client that puts load on a proxy, and the origin behind it. Each
// runs in a process of its own.
//
// # Cost
//
// Load, proxy and origin usually share a machine, so what the ends cost is taken from what is measured. Each thread is
// one event loop on epoll(7) with raw system calls (sys.go); nothing is allocated for a message, and no goroutine
// belongs to a connection.
//
// # Closed and open loop
//
// Without a rate the client is a closed loop: a connection's next operation begins when its last one has ended. That
// finds out how much a proxy can do, but its latencies are those of a saturated system, and while the proxy stalls
// nothing is asked of it: the requests that would have met the stall are missing from the percentiles. Gil Tene calls
// that coordinated omission ("How NOT to Measure Latency"; HdrHistogram and wrk2 are his answers).
//
// With a rate it is an open loop: operation k is meant to begin at k/rate seconds, which is laid down before the
// first one, and its latency counts from that moment, whether or not a connection was free to begin it. What has not
// been answered when the run ends counts with the time that it has waited.
//
// An operation that was begun late although a connection was free is the client's own fault, and stands in
// [ClientResult].Late. A client that is busy all the time (CPUSeconds near Seconds times threads) sees answers late
// too, which no histogram can tell apart: such figures are the client's and not the proxy's.
//
// # Visits
//
// When a backend fails, most clients notice nothing, and a percentile says nothing of those who do. A Visit is an
// operation of an open loop of which it is kept how it went: when it began, how long it took to connect and to have
// the answer, from whom, or why it failed. Its times are on a clock that all processes share ([Now]), so that they can
// be compared with the moment of a fault that somebody else has caused.
//
// # What is checked
//
// All bytes are from one pattern (pattern.go), requests and responses from its start. Both ends know which byte stands
// where, so that bytes which were lost, doubled or swapped are found wherever they show at an end of what one system
// call delivers; with Verify every byte is compared. The client calls it a failure; the origin resets the connection,
// which the client then does. A receiver of bulk looks at the first bytes of each delivery and has the kernel drop the
// others uncopied, unless Verify is set: copying them would cost more than anything else that it does.
package traffic
