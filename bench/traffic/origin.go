package traffic

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// backlog is how many connections may wait to be accepted, as far as net.core.somaxconn allows
// (listen(2)).
const backlog = 4096

// origin is the loops of one RunOrigin.
type origin struct {
	loops     []*originLoop
	addresses []netip.AddrPort // of the listening sockets of the first loop
	stopped   atomic.Bool
}

// RunOrigin serves until ctx ends, which is no error. It calls ready, which may be nil, when
// clients can connect.
//
// It raises GOMAXPROCS if its loops need more.
func RunOrigin(ctx context.Context, spec OriginSpec, ready func()) error {
	o, err := newOrigin(spec)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	return o.run(ctx)
}

// newOrigin listens. For port 0 the kernel chooses one, the same for all loops.
func newOrigin(spec OriginSpec) (*origin, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	addresses, err := parseAddresses(spec.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	o := new(origin)
	threads := max(spec.Threads, 1)
	for range threads {
		l, err := newOriginLoop(o, spec)
		if err != nil {
			o.close()
			return nil, err
		}
		o.loops = append(o.loops, l)
		for i := range addresses {
			bound, err := l.listen(addresses[i], threads > 1)
			if err != nil {
				o.close()
				return nil, fmt.Errorf("listening on %s: %w", spec.Listen[i], err)
			}
			if l == o.loops[0] {
				o.addresses = append(o.addresses, bound)
				addresses[i] = rawsys.InetSockaddr(bound, 0)
			}
		}
	}
	return o, nil
}

func (o *origin) close() {
	for _, l := range o.loops {
		l.close()
	}
}

func (o *origin) run(ctx context.Context) error {
	defer o.close()
	processorsFor(len(o.loops))
	caller := ctx
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var group sync.WaitGroup
	for _, l := range o.loops {
		group.Go(func() {
			if err := l.serve(); err != nil {
				fail(err)
			}
		})
	}
	<-ctx.Done()
	o.stopped.Store(true)
	for _, l := range o.loops {
		l.poller.wake()
	}
	group.Wait()
	if caller.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// listen opens a listening socket and returns its address.
func (l *originLoop) listen(a *rawsys.Sockaddr, shared bool) (netip.AddrPort, error) {
	fd, errno := rawsys.Socket(a.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("socket: %w", errno)
	}
	bound, err := prepareListener(fd, a, shared)
	if err == nil {
		err = l.attach(fd, true)
	}
	if err != nil {
		rawsys.Close(fd)
	}
	return bound, err
}

func prepareListener(fd int, a *rawsys.Sockaddr, shared bool) (netip.AddrPort, error) {
	type option struct{ level, name int }
	options := []option{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY}, // accepted sockets inherit it
	}
	if shared {
		// Only if it is needed: with it, an origin that was not stopped would get half of the
		// connections without anyone noticing.
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT})
	}
	for _, option := range options {
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
