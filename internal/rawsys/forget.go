package rawsys

import "golang.org/x/sys/unix"

// loopback is the index of the interface lo in every network namespace.
const loopback = 1

// Forget prepares a TCP socket so that its close(2) sends neither a FIN nor a reset. Later segments
// of the peer are answered by the kernel with resets, because no socket takes them.
//
//   - With CAP_NET_ADMIN, the socket gets TCP_REPAIR: the kernel then closes it without a segment.
//   - Without it, the socket is bound to the loopback interface (any process may bind a socket that
//     is bound to no interface, since Linux 5.7), and closes with a reset. The kernel routes the
//     reset to lo, where nothing takes it. Only a peer on the same machine receives it. A low TTL
//     instead would not help against peers on the same link.
//
// The error is that of the second way. Then the peer sees a reset.
func Forget(fd int) unix.Errno {
	if SetInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) == 0 {
		return 0
	}
	SetLinger(fd, 1, 0)
	return SetInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, loopback)
}
