package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A Checker finds out whether a server works.
type Checker interface {
	// Check returns nil when the server at addr (a *net.TCPAddr or a *net.UnixAddr) is healthy,
	// else what was wrong. name is the host name of addr in the configuration, "" if an address is
	// configured. It returns soon after ctx is done, and leaves nothing behind. Many goroutines
	// call it.
	Check(ctx context.Context, addr net.Addr, name string) error
}

// tcp checks that a server accepts a connection. The Monitor leaves that to its prober if the
// address allows it.
type tcp struct{}

// NewTCP returns a Checker that passes if the TCP handshake succeeds: the server's kernel accepts
// connections. It does not test the application. One that hangs passes until the queue of its
// listening socket is full.
func NewTCP() Checker { return tcp{} }

func (tcp) Check(ctx context.Context, addr net.Addr, _ string) error {
	return withConn(ctx, addr, nil, func(conn net.Conn) error {
		if c, ok := conn.(*net.TCPConn); ok {
			_ = c.SetLinger(0) // a reset leaves nothing in TIME_WAIT on either side
		}
		return nil
	})
}

// After returns a Checker that sends a header, if there is one, before it does what c does: that of
// the PROXY protocol, without which some servers do not answer. A Checker made by NewTCP sends
// nothing.
func After(header []byte, c Checker) Checker {
	switch c := c.(type) {
	case tlsChecker:
		c.before = header
		return c
	case httpChecker:
		c.before = header
		return c
	case expect:
		c.before = header
		return c
	}
	return c
}

// errNoAnswer stands for a timeout.
var errNoAnswer = errors.New("no answer in time")

// failed says that doing something failed with err. It omits the addresses that package net puts
// into its errors: the log line names the backend.
func failed(ctx context.Context, doing string, err error) error {
	if isTimeout(ctx, err) {
		return fmt.Errorf("%s: %w", doing, errNoAnswer)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if errno := unix.Errno(0); errors.As(err, &errno) {
		err = errno // omit the name of the system call
	}
	return &checkError{doing, err}
}

func isTimeout(ctx context.Context, err error) bool {
	var timeout net.Error
	return ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout()
}

// checkError is an error of another package. It may quote at length what a server has sent.
type checkError struct {
	doing string
	err   error
}

func (e *checkError) Error() string { return e.doing + ": " + shorten(e.err.Error(), 200) }

func (e *checkError) Unwrap() error { return e.err }

// isLocal reports whether a check could not be made for a reason on this machine: no descriptor,
// source port or memory, or a firewall's rule. Such a failure does not count against the backend.
// The data plane treats its dials the same way.
func isLocal(err error) bool {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EPERM,
		unix.ENOSPC: // of epoll_ctl(2)
		return true
	}
	return false
}

// quoted is data for a message: escaped, and cut if it is long.
func quoted(data []byte) string {
	const most = 64
	if len(data) > most {
		return strconv.Quote(string(data[:most])) + "…"
	}
	return strconv.Quote(string(data))
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// connectError is an error of the prober's connect(2).
type connectError unix.Errno

func (e connectError) Error() string { return "connect: " + unix.Errno(e).Error() }

func (e connectError) Unwrap() error { return unix.Errno(e) }

// errConnectTimeout is a TCP check that got no answer.
var errConnectTimeout = fmt.Errorf("connect: %w", errNoAnswer)

func errorOf(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return connectError(errno)
}
