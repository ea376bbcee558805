// Package bans keeps the prefixes of clients that may not connect for a time, or until they are
// unbanned: a million of them, set while the proxy runs.
//
// Event loops look addresses up without a lock ([Store.Find]): they read an immutable table, and
// every change publishes another one, which shares all but a few nodes with it. An expired ban
// matches no more from its time on, whether it has been removed from the table or not.
//
// Times in memory are of CLOCK_MONOTONIC, so a step of the wall clock neither ends nor prolongs a
// ban. The file has times of the wall clock, because only these outlive a boot.
package bans
