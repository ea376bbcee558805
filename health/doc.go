// Package health checks backends actively and says which are up.
//
// A Monitor looks after groups of targets. Its loop, one goroutine, owns all
// that moves: an agenda of what is due when, a Schedule and a Status for each
// target, and the prober, which makes TCP checks itself. Such a check is a
// connect(2) on a socket that is used again and again; the handshake's last
// packet is held back, and a reset ends it, so that the application behind the
// address never sees a connection. All that is due within 10 ms is done in one
// go, and with nothing under way the loop sleeps until something is due.
//
// The other checkers (tls, http, expect, and whatever implements Checker) run
// on a goroutine for each check, so many at once and groups in turn (lane),
// and hand their verdict back to the loop. Changes are told by a goroutine of
// their own: a slow listener delays no check and misses no change.
package health
