package listen

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// adopt checks that an inherited descriptor listens on bind, and gives it the options that a new
// one would have. The process that opened it may have used another engine. A TCP socket that is
// bound but does not listen is one that refused clients there. It is left so: to listen is for the
// caller, once nothing can fail.
func (o *Opener) adopt(fd int, bind Bind) error {
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return err
	}
	at, same, err := IsAt(fd, bind)
	switch {
	case err != nil:
		return err
	case listens == 0 && (!same || bind.IsUnix()):
		return errors.New("the socket does not listen")
	case !same:
		return fmt.Errorf("the socket listens on %s", at)
	}
	unix.CloseOnExec(fd)
	if errno := rawsys.SetNonblock(fd, o.Flags&unix.SOCK_NONBLOCK != 0); errno != 0 {
		return errno
	}
	if bind.IsUnix() {
		return nil
	}
	// A process that was about to close the socket may have left a filter that drops SYNs. It is
	// one of the socket, not of a descriptor. ENOENT if there is none.
	rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if errno := rawsys.SetInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 { // others join it
		return errno
	}
	if o.Prepare != nil {
		o.Prepare(fd)
	}
	family, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err := bind.Options.fixed(fd, bind.tcp().Addr() == netip.IPv6Unspecified()); err != nil {
		return err
	}
	if err := bind.Options.apply(fd, family); err != nil {
		return err
	}
	if listens != 0 && bind.Options.Backlog > 0 { // a socket that listens gets another backlog
		rawsys.Listen(fd, bind.Options.Backlog)
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
	if on := bind.Options.Interface; same && on != "" { // a socket that is bound to none can be bound to it
		own := device(fd)
		same = own == "" || own == on
	}
	return own.String(), same && (want.Port() == 0 || own.Port() == want.Port()), nil
}

// At reports whether the socket is bound to bind, and the address if it is one of TCP. Port 0
// stands for any port.
func At(fd int, bind Bind) (own netip.AddrPort, same bool) {
	if _, same, err := IsAt(fd, bind); err != nil || !same {
		return own, false
	}
	own, _ = rawsys.LocalAddr(fd)
	return own, true
}
