// Package proxy is the data plane: it accepts clients, picks a backend for each, and forwards bytes
// both ways.
//
// life.go lists the steps of a connection, and the file of each step. A [Server] runs one worker
// per CPU. Each worker has an event loop and its own connections. Workers share only a few counters
// and the balancers of the pools.
//
// The configuration is a [State], which is immutable. A connection keeps the State that it started
// with.
package proxy
