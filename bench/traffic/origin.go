package traffic

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// backlog is how many connections may wait to be accepted, as far as net.core.somaxconn allows
// (listen(2)).
const backlog = 4096

// RunOrigin serves until ctx ends, which is not an error. It calls ready, which may be nil, when
// clients can connect.
//
// It raises GOMAXPROCS if its loop needs more.
func RunOrigin(ctx context.Context, spec OriginSpec, ready func()) error {
	l, err := newOrigin(spec)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	return l.run(ctx)
}

// newOrigin listens. For port 0 the kernel chooses one.
func newOrigin(spec OriginSpec) (*originLoop, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	addresses, err := parseAddresses(spec.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := newOriginLoop(spec)
	if err != nil {
		return nil, err
	}
	for i, a := range addresses {
		bound, err := l.listen(a)
		if err != nil {
			l.close()
			return nil, fmt.Errorf("listening on %s: %w", spec.Listen[i], err)
		}
		l.addresses = append(l.addresses, bound)
	}
	return l, nil
}

func (l *originLoop) run(ctx context.Context) error {
	defer l.close()
	roomForLoop()
	ended := make(chan error, 1)
	go func() { ended <- l.serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		l.stopped.Store(true)
		l.poller.wake()
		return <-ended
	}
}

// listen opens a listening socket and returns its address.
func (l *originLoop) listen(a *rawsys.Sockaddr) (netip.AddrPort, error) {
	fd, errno := rawsys.Socket(a.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("socket: %w", errno)
	}
	bound, err := prepareListener(fd, a)
	if err == nil {
		err = l.attach(fd, true)
	}
	if err != nil {
		rawsys.Close(fd)
	}
	return bound, err
}

func prepareListener(fd int, a *rawsys.Sockaddr) (netip.AddrPort, error) {
	// No SO_REUSEPORT: an origin that was not stopped would get half of the connections without
	// anyone noticing. Accepted sockets inherit TCP_NODELAY.
	for _, option := range []struct{ level, name int }{{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.IPPROTO_TCP, unix.TCP_NODELAY}} {
		if errno := rawsys.SetInt(fd, option.level, option.name, 1); errno != 0 {
			return netip.AddrPort{}, fmt.Errorf("setsockopt: %w", errno)
		}
	}
	if errno := a.Bind(fd); errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("bind: %w", errno)
	}
	if errno := rawsys.Listen(fd, backlog); errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("listen: %w", errno)
	}
	bound, errno := rawsys.LocalAddr(fd)
	if errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", errno)
	}
	return bound, nil
}
