// Package events keeps the latest events of the process: log lines that are not about one
// connection. A [Handler] takes them from the log, a [Hub] keeps them in a ring.
//
// Publishing never waits for a reader. A reader has no queue of its own: it remembers the ID of the
// last event that it has seen, and reads on in the ring. What has left the ring meanwhile is
// missing, and the reader learns how much.
package events
