package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// A client that completes its handshake after the last accept, and before the socket is closed or
// shut, would be reset. Therefore the kernel first drops the SYNs of new clients. They are sent
// again after a second. By then the kernel refuses them, or another socket takes them.

// lastHandshakes is how long a socket that Apply closes waits for handshakes that have begun.
const lastHandshakes = 100 * time.Millisecond

// onlyOld is a filter for a listening TCP socket (SO_ATTACH_FILTER, socket(7)). It sees a packet
// from its TCP header on (RFC 9293, section 3.1). It drops a SYN, but not the ACK that completes a
// handshake.
var onlyOld = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: tcpSYN | tcpACK},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: tcpSYN, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1}, // the whole packet
}

const (
	tcpFlags = 13 // offset of the flags in the header
	tcpSYN   = 0x02
	tcpACK   = 0x10
)

// dropSYNs keeps new clients from the queue. If that fails, the gap between the last accept and the
// close stays.
func (s *listenSocket) dropSYNs() {
	if !rawsys.IsUnix(s.fd) {
		program := unix.SockFprog{Len: uint16(len(onlyOld)), Filter: &onlyOld[0]}
		_ = unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}
}

// endQueue keeps new clients from the queue of a socket that is about to be closed. If another
// program keeps the socket open, they may come: it is for the next process to serve them. What this
// process has done to the socket would last, because both have the same one.
func (s *listenSocket) endQueue() {
	if !s.bound.keepFile {
		s.dropSYNs()
		return
	}
	s.takeSYNs()
	if s.state == listenShut || s.state == listenReopening {
		rawsys.SetInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		_ = rawsys.Listen(s.fd, s.backlog)
	}
}

// takeSYNs undoes dropSYNs.
func (s *listenSocket) takeSYNs() { rawsys.SetInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) }
