package health

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// busyPause is the time between two tries to connect to a busy unix socket.
const busyPause = 10 * time.Millisecond

// withConn connects to addr, runs use, and closes the connection. When ctx is
// done all I/O on it fails.
func withConn(ctx context.Context, addr net.Addr, use func(net.Conn) error) error {
	conn, err := dial(ctx, net.Dialer{}, addr)
	if err != nil {
		return failed(ctx, "connect", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return use(conn)
}

// dial connects to addr with dialer.
//
// A unix socket whose queue is full says so at once (EAGAIN of connect(2)),
// where TCP has the client wait. It is tried again until ctx is done.
func dial(ctx context.Context, dialer net.Dialer, addr net.Addr) (net.Conn, error) {
	dialer.KeepAlive, dialer.Control = -1, resetOnClose
	dialer.SetMultipathTCP(false)
	for {
		conn, err := dialer.DialContext(ctx, addr.Network(), addr.String())
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

// resetOnClose makes a reset of the end of a socket that is not kept. A backend
// of this machine that is down may have a port from which the kernel chooses
// for outgoing connections. When it chooses that one, the socket is connected to
// itself. Package net tries twice more then, and what it closes would wait in
// TIME_WAIT and keep the backend from binding its port.
func resetOnClose(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}
