// Package eventloop runs network sockets on one thread, by operations and completions.
//
// A [Loop] belongs to one goroutine locked to one thread. Its user starts an operation on a socket (accept,
// connect, receive, send, or moving bytes between the socket and a pipe) and is told once, through its [Handler],
// how that operation ended. There is never a callback per byte or per readiness, and nothing here blocks, takes a
// lock, or allocates for an event.
//
// Two engines carry out the operations. [IOUring] hands them to the kernel in batches: sends, the receives that
// follow them and the wait for the next events go into one io_uring_enter(2). [Epoll] waits for readiness and makes
// the calls itself; it works on every kernel and where io_uring is forbidden. One conformance suite holds both to
// the same behaviour.
//
// Sockets live in a table and are named by a [Slot] which the user chooses, so that a connection that keeps index i
// for itself can use slots 2i and 2i+1 for its two sockets and needs no look-up from a completion back to itself.
package eventloop
