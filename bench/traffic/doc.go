// Package traffic is both ends of a measurement: the client that puts load on a proxy, and the
// origin behind it. Each runs in a process of its own.
//
// # Cost
//
// Load, proxy and origin usually share a machine, so the cost of the ends is missing for the proxy.
// Each end is one event loop on epoll(7) with raw system calls. It allocates nothing per
// message, and has no goroutine per connection.
//
// # Closed and open loop
//
// Without a rate the client is a closed loop: a connection's next operation begins when its last
// one has ended. That shows how much a proxy can do. But the latencies are those of a saturated
// system, and while the proxy stalls the client sends nothing: the requests that would have met the
// stall are missing from the percentiles. Gil Tene calls that coordinated omission ("How NOT to
// Measure Latency"; HdrHistogram and wrk2 are his answers).
//
// With a rate it is an open loop. Operation k is due at k/rate seconds, which is fixed in advance,
// and its latency counts from that moment, whether or not a connection was free. An operation that
// is not answered when the run ends counts with the time that it has waited.
//
// If an operation begins late although a connection was free, the client was too slow. That is
// counted in [ClientResult].Late. A client that is busy all the time (CPUSeconds near
// Seconds) also sees answers late, which no histogram shows: such figures are those of the client,
// not of the proxy.
//
// # Visits
//
// When a backend fails, most clients notice nothing, and a percentile does not show the few that
// do. A Visit is an operation of an open loop that is recorded on its own: when it began, how long
// it took to connect and to get the answer, from which backend, or why it failed. Its times are on
// a clock that all processes share ([Now]), so that they can be compared with the moment of a
// fault.
//
// A Flow is the same for a long connection: when it opened, the longest wait for an answer, and
// when and why it was lost. The proxy is reloaded or upgraded meanwhile.
//
// # What is checked
//
// All bytes come from one pattern (pattern.go); requests and responses begin at its start. So both
// ends know every byte. They compare the first and the last byte that a system call delivers, which
// finds bytes that were lost, duplicated or swapped; with Verify they compare every byte. A wrong
// byte is a failure for the client. The origin resets the connection, which is a failure for the
// client too. A receiver of bulk compares the first bytes of each delivery and has the kernel drop
// the others without copying them, unless Verify is set: copying would cost more than all the rest.
package traffic
