package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// adopt checks that an inherited descriptor listens on bind, and gives it the options that a new
// one would have. The process that opened it may have used another engine.
func (o *Opener) adopt(fd int, bind Bind) error {
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil {
		return err
	} else if listens == 0 {
		return errors.New("the socket does not listen")
	}
	if at, same, err := IsAt(fd, bind); err != nil {
		return err
	} else if !same {
		return fmt.Errorf("the socket listens on %s", at)
	}
	unix.CloseOnExec(fd)
	if errno := rawsys.SetNonblock(fd, o.Flags&unix.SOCK_NONBLOCK != 0); errno != 0 {
		return errno
	}
	if bind.IsUnix() {
		return nil
	}
	if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 { // others join it
		return errno
	}
	if o.Prepare != nil {
		o.Prepare(fd)
	}
	return nil
}

// IsAt reports whether the socket is bound to bind, and what it is bound to. Port 0 stands for any
// port.
func IsAt(fd int, bind Bind) (at string, same bool, err error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", false, err
	}
	if file, ok := sa.(*unix.SockaddrUnix); ok {
		return "unix:" + file.Name, file.Name == bind.Path, nil
	}
	own, errno := rawsys.LocalAddr(fd)
	if errno != 0 {
		return "", false, errno
	}
	if bind.IsUnix() {
		return own.String(), false, nil
	}
	want := bind.tcp()
	same = own.Addr() == want.Addr().Unmap().WithZone("") || bind.everywhere() && own.Addr() == netip.IPv4Unspecified()
	return own.String(), same && (want.Port() == 0 || own.Port() == want.Port()), nil
}

// At reports whether the socket is bound to bind, and the address if it is one of TCP. Port 0
// stands for any port.
func At(fd int, bind Bind) (own netip.AddrPort, same bool) {
	if _, same, err := isAt(fd, bind); err != nil || !same {
		return own, false
	}
	own, _ = rawsys.LocalAddr(fd)
	return own, true
}
