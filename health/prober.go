package health

import (
	"net"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// maxIdle is how many sockets the prober keeps for later checks.
const maxIdle = 128

// prober makes TCP checks. Only one goroutine uses it.
//
// A check is SYN, SYN-ACK, RST. The kernel holds back the ACK in between, so the server's kernel
// never has a complete connection for the application, and the reset leaves nothing in TIME_WAIT.
// The reset comes from disconnecting the socket (connect(2) with AF_UNSPEC), which then serves the
// next check. Reusing it saves a third of the cost.
type prober struct {
	epoll   int // -1 before the first check
	probes  []probe
	vacant  []int32    // positions in probes without a socket
	idle    [2][]int32 // sockets at rest, for IPv4 and for IPv6
	resting int        // how many in both
	busy    int        // checks under way
	events  [128]unix.EpollEvent
}

// probe is a socket.
type probe struct {
	fd     int32
	family int32
	target int32 // whose check is under way; -1: none
}

// sockaddrOf returns nil if addr is not a TCP address, or has a zone (RFC 4007): connecting to it
// would bind the socket to the interface for good, and the prober reuses its sockets.
func sockaddrOf(addr net.Addr) *rawsys.Sockaddr {
	a, ok := addr.(*net.TCPAddr)
	if !ok || a.Zone != "" || !a.AddrPort().IsValid() {
		return nil
	}
	return rawsys.InetSockaddr(a.AddrPort(), 0)
}

// start begins a check of target. If it returns EINPROGRESS, the check is under way as the returned
// probe. Otherwise the probe is -1 and the errno is the result, 0 for a pass.
func (p *prober) start(target int32, addr *rawsys.Sockaddr) (int32, unix.Errno) {
	i, errno := p.take(addr.Family())
	if errno != 0 {
		return -1, errno
	}
	s := &p.probes[i]
	errno = addr.Connect(int(s.fd))
	if (errno == 0 || errno == unix.EINPROGRESS) && addr.MayMeetItself() && rawsys.ConnectedToItself(int(s.fd), addr.Bytes()) {
		// Nothing listens there, and this socket holds the port that the server needs.
		rawsys.Disconnect(int(s.fd))
		p.close(i)
		return -1, unix.ECONNREFUSED
	}
	if errno != unix.EINPROGRESS {
		p.rest(i)
		return -1, errno
	}
	s.target = target
	p.busy++
	return i, unix.EINPROGRESS
}

// poll calls ended for each check that has ended since the last call.
func (p *prober) poll(ended func(target int32, errno unix.Errno)) {
	for p.busy > 0 {
		n, _ := rawsys.EpollWait(p.epoll, p.events[:], 0, false, true)
		for _, event := range p.events[:n] {
			// A socket at rest has events too: it was disconnected.
			s := &p.probes[event.Fd]
			if s.target < 0 {
				continue
			}
			errno := unix.Errno(0)
			if event.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				errno = rawsys.SocketError(int(s.fd))
			}
			target := s.target
			p.cancel(event.Fd)
			ended(target, errno)
		}
		if n < len(p.events) {
			return
		}
	}
}

// cancel ends the check that is under way as the probe i.
func (p *prober) cancel(i int32) {
	p.probes[i].target = -1
	p.busy--
	p.rest(i)
}

// take returns a socket that is not connected.
func (p *prober) take(family int) (int32, unix.Errno) {
	idle := p.idleOf(family)
	n := len(*idle)
	if n == 0 {
		return p.open(family)
	}
	i := (*idle)[n-1]
	*idle = (*idle)[:n-1]
	p.resting--
	return i, 0
}

func (p *prober) idleOf(family int) *[]int32 {
	if family == unix.AF_INET {
		return &p.idle[0]
	}
	return &p.idle[1]
}

func (p *prober) open(family int) (int32, unix.Errno) {
	if p.epoll < 0 {
		var errno unix.Errno
		if p.epoll, errno = rawsys.EpollCreate(); errno != 0 {
			return -1, errno
		}
	}
	fd, errno := rawsys.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		return -1, errno
	}
	// On a socket that connects, TCP_DEFER_ACCEPT has the kernel expect that the application will
	// send at once, and hold back the ACK of the SYN-ACK for up to 200 ms
	// (tcp_rcv_synsent_state_process in the kernel's net/ipv4/tcp_input.c). TCP_QUICKACK off does
	// the same, but for one connection only.
	rawsys.SetInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	i := int32(len(p.probes))
	if n := len(p.vacant); n > 0 {
		i, p.vacant = p.vacant[n-1], p.vacant[:n-1]
	} else {
		p.probes = append(p.probes, probe{})
	}
	p.probes[i] = probe{int32(fd), int32(family), -1}
	if errno := rawsys.EpollAdd(p.epoll, fd, unix.EPOLLOUT|unix.EPOLLET, i); errno != 0 {
		p.close(i)
		return -1, errno
	}
	return i, 0
}

// rest disconnects the probe i, and keeps its socket if few are kept. If the kernel cannot
// disconnect it, closing sends a FIN, and the application may see a connection that ends at once.
func (p *prober) rest(i int32) {
	s := &p.probes[i]
	if rawsys.Disconnect(int(s.fd)) != 0 || p.resting >= maxIdle {
		p.close(i)
		return
	}
	idle := p.idleOf(int(s.family))
	*idle = append(*idle, i)
	p.resting++
}

func (p *prober) close(i int32) {
	fd := int(p.probes[i].fd)
	// Closing ends the registration too, but only when no child process on its way to exec has the
	// socket as well.
	rawsys.EpollDelete(p.epoll, fd)
	rawsys.Close(fd)
	p.probes[i] = probe{-1, 0, -1}
	p.vacant = append(p.vacant, i)
}

// closeAll leaves nothing open.
func (p *prober) closeAll() {
	for i := range p.probes {
		if fd := p.probes[i].fd; fd >= 0 {
			rawsys.Disconnect(int(fd))
			p.close(int32(i))
		}
	}
	if p.epoll >= 0 {
		rawsys.Close(p.epoll)
	}
	*p = prober{epoll: -1}
}
