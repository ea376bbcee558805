package listen

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// Backlog of listening sockets without [Options].Backlog; the kernel lowers it to
// net.core.somaxconn.
const Backlog = 65535

// Bind is an address to listen on.
type Bind struct {
	// Addr is a TCP address. Without an IP address in it, it is every address of the machine, of
	// both families.
	Addr netip.AddrPort
	// Path is that of a unix socket; "" for TCP.
	Path string
	// Place is where the configuration names it (FILE:LINE:COL), for errors; "" if unknown.
	Place string
	// Options are those of its sockets.
	Options Options
	// Access says who may connect to a unix socket; nil leaves that to the listener.
	Access *Access
}

// IsUnix reports whether it is a unix socket.
func (b Bind) IsUnix() bool { return b.Path != "" }

func (b Bind) String() string {
	switch {
	case b.IsUnix():
		return "unix:" + b.Path
	case b.everywhere():
		return fmt.Sprintf(":%d", b.Addr.Port())
	}
	return b.Addr.String()
}

// everywhere reports whether it is every address of the machine.
func (b Bind) everywhere() bool { return !b.Addr.Addr().IsValid() }

// tcp is the address to bind to.
func (b Bind) tcp() netip.AddrPort {
	if b.everywhere() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), b.Addr.Port())
	}
	return b.Addr
}

// at is the same address with another port.
func (b Bind) at(port uint16) Bind {
	b.Addr = netip.AddrPortFrom(b.Addr.Addr(), port)
	return b
}

// Access says who may connect to a unix socket: any process with write permission on its file.
type Access struct {
	Mode        uint32 // of the file; 0 means 0777 minus the umask
	User, Group int    // owners of the file; -1 means those of the process
}

// The kernel frees the io_uring rings of a process in a worker, after the process has ended. Until
// then, a ring keeps the listening sockets open on which it accepted. So the addresses stay in use
// for some milliseconds after a SIGKILL.
const (
	patience = 500 * time.Millisecond // for all addresses together
	retry    = 5 * time.Millisecond
)

// Opener opens the listening sockets of a process.
type Opener struct {
	// Shards is the number of sockets per TCP address, between which the kernel spreads new clients
	// (SO_REUSEPORT, socket(7)); 0 means 1. A unix socket is always one: the kernel would not
	// spread clients between several.
	Shards int
	// Flags is SOCK_NONBLOCK or 0, as the event loops want their sockets.
	Flags int
	// Prepare, if set, sets options of a TCP socket that accepted sockets inherit.
	Prepare func(fd int)
	// IPv4 are the ports on which the process listens on 0.0.0.0 too: there, [::] is for IPv6 only.
	// See IPv4Ports.
	IPv4 Ports
	// Own are addresses on which this process listens already. A new socket may overlap them: it
	// joins their sockets with SO_REUSEPORT from the start. The kernel gives a client to the socket
	// with the most specific address, and prefers an IPv4 socket for an IPv4 client.
	Own []Bind

	deadline time.Time // for addresses in use
}

// IPv4Ports returns the ports of 0.0.0.0 among binds.
func IPv4Ports(binds []Bind) Ports {
	ports := make(Ports)
	for _, b := range binds {
		if b.Addr.Addr() == netip.IPv4Unspecified() {
			ports.add(b)
		}
	}
	return ports
}

// Open listens on an address. access is for unix sockets without [Bind].Access; nil leaves it to
// the umask.
//
// inherited are listening sockets of that address that another process has opened. All of them are
// used: closing one would reset the clients in its queue. They belong to the Sockets unless Open
// returns an error.
func (o *Opener) Open(bind Bind, access *Access, inherited ...int) (*Sockets, error) {
	o.Shards = max(o.Shards, 1)
	if o.deadline.IsZero() {
		o.deadline = time.Now().Add(patience)
	}
	s, err := o.open(bind, access, inherited)
	for errors.Is(err, unix.EADDRINUSE) && time.Now().Before(o.deadline) {
		time.Sleep(retry)
		s, err = o.open(bind, access, inherited)
	}
	if err != nil {
		err = fmt.Errorf("cannot listen on %s: %w", bind, explain(err))
	}
	return s, err
}

func (o *Opener) open(bind Bind, access *Access, inherited []int) (*Sockets, error) {
	for _, fd := range inherited {
		if err := o.adopt(fd, bind); err != nil {
			return nil, fmt.Errorf("inherited descriptor %d: %w", fd, err)
		}
	}
	if bind.IsUnix() {
		return o.openUnix(bind, cmp.Or(bind.Access, access), inherited)
	}
	return o.openTCP(bind, inherited)
}

// explain adds what to do about the usual errors of bind(2).
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w: another program listens there; stop it or choose another address", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: ports below 1024 and other users' directories need root or the capability for it", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this machine has no such network interface; write the name of an interface after %%", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine has no such address; write one of its addresses, or none for all", err)
	}
	return err
}

// Sockets are the listening sockets of one address.
type Sockets struct {
	Bind Bind // with the port that is in use
	// IPv6Only: a socket of [::] that does not serve IPv4 clients. It cannot be changed later.
	IPv6Only bool

	fds    []int
	shards int
	file   os.FileInfo // of a unix socket in the file system
}

// Take returns the sockets of a shard, 0 to Shards-1, which then belong to the caller. A shard has
// several if more were inherited than there are shards, and a unix socket belongs to the first.
func (s *Sockets) Take(shard int) []int {
	var taken []int
	for i := shard; i < len(s.fds); i += s.shards {
		if s.fds[i] >= 0 {
			taken = append(taken, s.fds[i])
			s.fds[i] = -1
		}
	}
	return taken
}

// FDs returns the sockets that have not been taken. They still belong to the Sockets.
func (s *Sockets) FDs() []int {
	return slices.DeleteFunc(slices.Clone(s.fds), func(fd int) bool { return fd < 0 })
}

// Close closes the sockets that have not been taken.
func (s *Sockets) Close() {
	for i, fd := range s.fds {
		if fd >= 0 {
			rawsys.Close(fd)
			s.fds[i] = -1
		}
	}
}

// Lost reports whether no client can reach a unix socket any more, because its file was removed or
// replaced.
func (s *Sockets) Lost() bool {
	if s.file == nil {
		return false
	}
	now, err := os.Lstat(s.Bind.Path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(s.file, now)
}

// Unlink removes a unix socket from the file system, unless another process has replaced the file.
// Call it while the socket is open, so that no other file can have its inode number.
func (s *Sockets) Unlink() {
	if s.file == nil {
		return
	}
	if now, err := os.Lstat(s.Bind.Path); err == nil && os.SameFile(s.file, now) {
		_ = os.Remove(s.Bind.Path)
	}
}
