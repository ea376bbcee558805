// Package bandwidth limits how fast bytes flow, and shares each limit fairly between the flows that
// are subject to it.
//
// A [Bucket] is one limit. A flow that has bytes to move takes its [Turn] at each of its buckets
// and then moves what they have granted. While the rate is not used up, a turn ends at once.
// Otherwise it waits in the bucket, and the flow that has had the least is served first.
//
// The package knows neither sockets nor event loops: times are passed in, and the caller calls
// [Bucket.Serve] when a bucket says so.
package bandwidth
