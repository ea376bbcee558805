// Package health checks backends actively.
//
// A Monitor checks groups of targets. Its loop, one goroutine, owns an agenda of due times, a
// Schedule and a Status for each target, and the prober, which makes TCP checks. Such a check is a
// connect(2) on a socket that is used again and again. The last packet of the handshake is held
// back, and a reset ends it, so the application never sees a connection. The loop does together
// what is due within 10 ms. If no check is under way, it sleeps until the next one is due.
//
// Other checks (tls, http, expect, any Checker) run on a goroutine each. A lane bounds how many run
// at once and takes groups in turn. They send their results back to the loop. Changes wait
// in an inbox for their receiver: a slow one delays no check and misses no change.
package health
