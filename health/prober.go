package health

import "golang.org/x/sys/unix"

// maxIdle is how many sockets the prober keeps for later checks.
const maxIdle = 128

// prober makes TCP checks. Only one goroutine uses it.
//
// A check is SYN, SYN-ACK, RST. The kernel holds back the ACK in between, so
// the server's kernel has never a complete connection for the application, and
// the reset leaves nothing in TIME_WAIT. The reset comes from dissolving the
// association (connect(2) with AF_UNSPEC), after which the same socket serves
// the next check: that saves making and freeing one, a third of the cost.
type prober struct {
	epoll   int // -1 before the first check
	probes  []probe
	vacant  []int32    // places in probes without a socket
	idle    [2][]int32 // sockets at rest, for IPv4 and for IPv6
	resting int        // how many in both
	busy    int        // checks under way
	events  [128]unix.EpollEvent
}

// probe is a socket.
type probe struct {
	fd     int32
	family uint16
	target int32 // whose check is under way; -1: none
}

// start begins a check of target. With EINPROGRESS it is under way as the
// returned probe; else that is -1, and the errno is the result, 0 for a pass.
func (p *prober) start(target int32, addr *sockaddr) (int32, unix.Errno) {
	i, errno := p.take(addr.family)
	if errno != 0 {
		return -1, errno
	}
	s := &p.probes[i]
	errno = connect(int(s.fd), addr)
	if (errno == 0 || errno == unix.EINPROGRESS) && isSelf(int(s.fd), addr) {
		// Nothing listens there, and this socket holds the port that the server needs.
		_ = connect(int(s.fd), &unspecified)
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

// poll tells of all checks that have ended since the last call.
func (p *prober) poll(ended func(target int32, errno unix.Errno)) {
	for p.busy > 0 {
		n := epollReady(p.epoll, p.events[:])
		for _, event := range p.events[:n] {
			// A socket at rest has events too: it was disconnected.
			s := &p.probes[event.Fd]
			if s.target < 0 {
				continue
			}
			errno := unix.Errno(0)
			if event.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
				errno = socketError(int(s.fd))
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
func (p *prober) take(family uint16) (int32, unix.Errno) {
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

func (p *prober) idleOf(family uint16) *[]int32 {
	if family == unix.AF_INET {
		return &p.idle[0]
	}
	return &p.idle[1]
}

func (p *prober) open(family uint16) (int32, unix.Errno) {
	if p.epoll < 0 {
		var errno unix.Errno
		if p.epoll, errno = newEpoll(); errno != 0 {
			return -1, errno
		}
	}
	fd, errno := newSocket(family)
	if errno != 0 {
		return -1, errno
	}
	// On a socket that connects, TCP_DEFER_ACCEPT has the kernel expect that
	// the application will send at once, and hold back the ACK of the SYN-ACK
	// for up to 200 ms (tcp_rcv_synsent_state_process in the kernel's
	// net/ipv4/tcp_input.c). TCP_QUICKACK off does the same, but for one
	// connection only.
	_ = setOption(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	i := int32(len(p.probes))
	if n := len(p.vacant); n > 0 {
		i, p.vacant = p.vacant[n-1], p.vacant[:n-1]
	} else {
		p.probes = append(p.probes, probe{})
	}
	p.probes[i] = probe{int32(fd), family, -1}
	if errno := epollAdd(p.epoll, fd, unix.EPOLLOUT|unix.EPOLLET, i); errno != 0 {
		p.close(i)
		return -1, errno
	}
	return i, 0
}

// unspecified dissolves a socket's association.
var unspecified = sockaddr{size: unix.SizeofSockaddrInet4}

// rest disconnects the probe i, and keeps its socket if few are kept. Should a
// kernel not know how to disconnect, closing sends a FIN, and the application
// may see a connection that ends at once.
func (p *prober) rest(i int32) {
	s := &p.probes[i]
	if connect(int(s.fd), &unspecified) != 0 || p.resting >= maxIdle {
		p.close(i)
		return
	}
	idle := p.idleOf(s.family)
	*idle = append(*idle, i)
	p.resting++
}

func (p *prober) close(i int32) {
	fd := int(p.probes[i].fd)
	// Closing ends the registration too, but only when no child process on its
	// way to exec has the socket as well.
	epollDelete(p.epoll, fd)
	closeFD(fd)
	p.probes[i] = probe{-1, 0, -1}
	p.vacant = append(p.vacant, i)
}

// closeAll leaves nothing open.
func (p *prober) closeAll() {
	for i := range p.probes {
		if fd := p.probes[i].fd; fd >= 0 {
			_ = connect(int(fd), &unspecified)
			p.close(int32(i))
		}
	}
	if p.epoll >= 0 {
		closeFD(p.epoll)
	}
	*p = prober{epoll: -1}
}
