// Package proxy is the data plane: it accepts clients, chooses a backend for each and carries bytes both ways.
//
// Reading conn.go from top to bottom is reading what happens to a connection. The other files are its stations:
// listener.go accepts, deny.go turns away, dial.go connects, relay.go moves the bytes, close.go ends. A [Server] runs one worker
// a CPU, each with an event loop and connections of its own; workers share nothing but a few counters and the
// policies of the pools.
//
// What to do is told by a [State], which is immutable. A connection keeps the State it was born with.
package proxy
