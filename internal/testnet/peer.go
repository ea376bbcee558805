package testnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a TCP or a unix connection.
type Conn interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// Dial connects a client. It is closed at the end of the test, and has a deadline of [Patience].
func Dial(t testing.TB, network, address string) Conn {
	t.Helper()
	c, err := TryDial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TryDial is Dial for goroutines that must not end the test. The caller closes the connection.
func TryDial(network, address string) (Conn, error) {
	return dial(net.Dialer{Timeout: Patience}, network, address)
}

// DialFrom is Dial over TCP, from the given loopback address.
func DialFrom(t testing.TB, from, address string) Conn {
	t.Helper()
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	c, err := dial(net.Dialer{Timeout: Patience, LocalAddr: local}, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(d net.Dialer, network, address string) (Conn, error) {
	d.SetMultipathTCP(false)
	c, err := d.Dial(network, address)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(Patience))
	return c.(Conn), nil
}

// Reset closes c with a reset instead of a FIN.
func Reset(c Conn) error {
	_ = c.(*net.TCPConn).SetLinger(0)
	return c.Close()
}

// Unacknowledged returns the number of bytes that c has sent and its peer has not acknowledged.
func Unacknowledged(t testing.TB, c Conn) int {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	failed := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
	return n
}

// IsReset reports whether err is what a reader or a writer gets after a reset by its peer.
func IsReset(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }

// A Backend listens on an address of its own.
type Backend struct {
	Addr     string
	Network  string // "tcp" or "unix"
	listener net.Listener
	accepted atomic.Int64
	handlers sync.WaitGroup

	mu     sync.Mutex
	open   map[Conn]bool
	closed bool
}

// Listen starts a backend whose connections the test accepts. network is "tcp" or "unix"; address
// is as in net.Listen, "" for a free port on the IPv4 loopback.
func Listen(t testing.TB, network, address string) *Backend {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	b := &Backend{Addr: l.Addr().String(), Network: network, listener: l, open: map[Conn]bool{}}
	t.Cleanup(b.Close)
	return b
}

// Serve starts a backend that runs handle on a goroutine per connection, and closes the connection
// after it.
func Serve(t testing.TB, network, address string, handle func(Conn)) *Backend {
	t.Helper()
	b := Listen(t, network, address)
	b.handlers.Go(func() {
		for {
			c, err := b.accept()
			if err != nil {
				return
			}
			b.handlers.Go(func() {
				defer b.forget(c)
				handle(c)
			})
		}
	})
	return b
}

// Accepted returns the number of connections accepted so far.
func (b *Backend) Accepted() int { return int(b.accepted.Load()) }

// Accept waits for the next connection of a backend from [Listen]. The backend closes it at its
// end.
func (b *Backend) Accept(t testing.TB) Conn {
	t.Helper()
	if l, ok := b.listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Now().Add(Patience))
	}
	c, err := b.accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b *Backend) accept() (Conn, error) {
	accepted, err := b.listener.Accept()
	if err != nil {
		return nil, err
	}
	b.accepted.Add(1)
	c := accepted.(Conn)
	_ = c.SetDeadline(time.Now().Add(Patience))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	b.open[c] = true
	return c, nil
}

func (b *Backend) forget(c Conn) {
	c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// Reset resets all open connections.
func (b *Backend) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		_ = Reset(c)
	}
	clear(b.open)
}

// Die closes the listener and resets all connections, as if the process were killed.
func (b *Backend) Die() { b.end(func(c Conn) { _ = Reset(c) }) }

// Close closes the listener and all connections, and waits for the handlers.
func (b *Backend) Close() { b.end(func(c Conn) { c.Close() }) }

func (b *Backend) end(how func(Conn)) {
	b.listener.Close()
	b.mu.Lock()
	b.closed = true
	for c := range b.open {
		how(c)
	}
	clear(b.open)
	b.mu.Unlock()
	b.handlers.Wait()
}

// Echo is a handler that sends everything back, including the end of the stream.
func Echo(c Conn) {
	p := make([]byte, 64<<10)
	for {
		n, err := c.Read(p)
		if _, failed := c.Write(p[:n]); failed != nil || err != nil {
			return
		}
	}
}
