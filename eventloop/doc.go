// Package eventloop runs network sockets on one thread, by operations and completions.
//
// A [Loop] belongs to one goroutine locked to one thread. Its user starts an operation on a socket
// (accept, connect, receive, send, or moving bytes between the socket and a pipe) and its [Handler]
// is called once, when the operation has ended. There are no callbacks per byte or per readiness
// event. Nothing here blocks, takes a lock, or allocates per event.
//
// Two engines carry out the operations. [IOUring] hands them to the kernel in batches: sends, the
// receives that follow them and the wait for the next events go into one io_uring_enter(2). [Epoll]
// waits for readiness and makes the calls itself; it works on every kernel and where io_uring is
// forbidden. One conformance suite holds both to the same behaviour.
//
// Sockets are kept in a table and named by a [Slot] that the user chooses. A connection with index
// i can use the slots 2i and 2i+1 for its two sockets, and then no look-up leads from a completion
// back to the connection.
package eventloop
