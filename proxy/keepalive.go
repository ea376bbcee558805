package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop/rawsys"
)

// KeepAlive is how a peer that has vanished is found out: the socket options of tcp(7), on both sides of every
// connection. The zero value stands for [DefaultKeepAlive].
type KeepAlive struct {
	Idle     time.Duration // TCP_KEEPIDLE: the first probe, after so long without a byte; whole seconds
	Interval time.Duration // TCP_KEEPINTVL: between probes; whole seconds
	// Timeout is TCP_USER_TIMEOUT: how long bytes, or probes, may stay without an acknowledgement.
	Timeout time.Duration
}

// DefaultKeepAlive probes well below 350 s, after which the strictest of the large clouds forgets an idle flow, and
// has found out a dead peer after two minutes.
var DefaultKeepAlive = KeepAlive{Idle: time.Minute, Interval: 15 * time.Second, Timeout: 2 * time.Minute}

// keepAliveAfter is the age at which the socket to a backend gets its options: four system calls that most connections
// end too soon to need. Clients' sockets inherit them from the listening socket.
const keepAliveAfter = 5 * time.Second

func (k KeepAlive) after() time.Duration { return min(keepAliveAfter, k.Idle/2) }

// set sets the options on a TCP socket. None of them can fail there with valid values, and on a unix socket, which has
// none of them, failing is right.
func (k KeepAlive) set(fd int) {
	rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(k.Idle/time.Second))
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(k.Interval/time.Second))
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(k.Timeout/time.Millisecond))
}
