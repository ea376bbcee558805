// Package upgrade hands a running proxy over to a new process: its listening sockets, its live
// state, and its open connections.
//
// The old process starts the new one with one end of a unix socket pair. Both then exchange the
// messages that docs/handover.md lists. The files follow that exchange:
//   - child.go: the old process starts the new one, and ends it if the upgrade fails
//   - old.go, deliver.go: the old process's side
//   - new.go, receive.go: the new process's side
//   - frame.go, link.go: messages with descriptors on the socket
//   - messages.go, format.go: what the messages say, and in which versions of the format
//   - sockets.go: which inherited socket belongs to which address
//
// Two rules keep the bytes of every connection right:
//   - A process reads from a connection only while it owns it, and there is one owner at any time.
//     The new process owns a batch from the moment it has sent its acknowledgement; before that, it
//     only checks what has arrived.
//   - If no acknowledgement arrives, the old process first kills the new one, and only then
//     reclaims the batch.
package upgrade
