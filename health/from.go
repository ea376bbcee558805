package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
)

// Origin is where checks come from. Firewalls and routes then treat them as they treat the
// connections of clients.
type Origin struct {
	// Addresses are source addresses of this machine. Those of the server's family are used in
	// turn; without one, the kernel chooses.
	Addresses []netip.Addr
	// Mark is SO_MARK of the packets; 0 means none.
	Mark uint32
}

// From returns a Checker that does what c does, from an origin.
func From(o Origin, c Checker) Checker {
	if len(o.Addresses) == 0 && o.Mark == 0 {
		return c
	}
	return from{c, &o}
}

type from struct {
	Checker
	origin *Origin
}

type originKey struct{}

// Check passes the origin to dial.
func (f from) Check(ctx context.Context, addr net.Addr, name string) error {
	return f.Checker.Check(context.WithValue(ctx, originKey{}, f.origin), addr, name)
}

// originOf is the origin of a check, nil if the kernel decides.
func originOf(ctx context.Context, addr net.Addr) *Origin {
	if addr.Network() == "unix" {
		return nil
	}
	o, _ := ctx.Value(originKey{}).(*Origin)
	return o
}

// dialFrom connects from each of the addresses until one has a source port.
func (o *Origin) dialFrom(ctx context.Context, dialer net.Dialer, addr net.Addr) (conn net.Conn, err error) {
	dialer.Control = func(network, _ string, c syscall.RawConn) error {
		var failed unix.Errno
		err := c.Control(func(fd uintptr) {
			rawsys.SetLinger(int(fd), 1, 0) // see resetOnClose
			sockopt.LatePort(int(fd))
			if o.Mark != 0 {
				failed = rawsys.SetInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark))
			}
		})
		if failed != 0 {
			err = failed
		}
		return err
	}
	to, _ := addr.(*net.TCPAddr)
	var own []netip.Addr
	for _, ip := range o.Addresses {
		if to != nil && ip.Is4() == (to.IP.To4() != nil) {
			own = append(own, ip)
		}
	}
	first := rand.IntN(max(1, len(own)))
	for i := range max(1, len(own)) {
		if len(own) > 0 {
			dialer.LocalAddr = &net.TCPAddr{IP: own[(first+i)%len(own)].AsSlice()}
		}
		conn, err = dialer.DialContext(ctx, addr.Network(), addr.String())
		if !errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
	}
	return conn, err
}
