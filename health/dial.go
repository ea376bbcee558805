package health

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// busyPause is the time between two attempts to connect to a busy unix socket.
const busyPause = 10 * time.Millisecond

// withConn connects to addr, sends header if there is one, runs use, and closes the connection.
// When ctx is done all I/O on it fails.
func withConn(ctx context.Context, addr net.Addr, header []byte, use func(net.Conn) error) error {
	conn, err := dial(ctx, net.Dialer{}, addr)
	if err != nil {
		return failed(ctx, "connect", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if len(header) > 0 {
		// If the server has closed already, what it said before may satisfy the check.
		_, _ = conn.Write(header)
	}
	return use(conn)
}

// dial connects to addr with dialer.
//
// If the queue of a unix socket is full, connect(2) fails at once with EAGAIN, where TCP makes the
// client wait. dial retries until ctx is done.
func dial(ctx context.Context, dialer net.Dialer, addr net.Addr) (net.Conn, error) {
	dialer.KeepAlive, dialer.Control = -1, resetOnClose
	dialer.SetMultipathTCP(false)
	connect := func() (net.Conn, error) { return dialer.DialContext(ctx, addr.Network(), addr.String()) }
	if o := originOf(ctx, addr); o != nil {
		connect = func() (net.Conn, error) { return o.dialFrom(ctx, dialer, addr) }
	}
	for {
		conn, err := connect()
		switch c, isTCP := conn.(*net.TCPConn); {
		case isTCP:
			if own, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr); own.Port == remote.Port && own.IP.Equal(remote.IP) {
				_ = c.Close()
				return nil, unix.ECONNREFUSED
			}
			_ = c.SetLinger(-1)
			return c, nil
		case addr.Network() != "unix" || !errors.Is(err, unix.EAGAIN):
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

// resetOnClose makes a socket that is not kept end with a reset. The port of a local backend that
// is down may be in the range from which the kernel picks source ports. If the kernel picks that
// port, the socket connects to itself. Package net then retries twice, and the sockets that it
// closes would stay in TIME_WAIT and keep the backend from binding its port.
func resetOnClose(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	return c.Control(func(fd uintptr) {
		rawsys.SetLinger(int(fd), 1, 0)
	})
}
