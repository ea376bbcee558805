package listen

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// openUnix opens a unix socket, or takes over the inherited ones.
func (o *Opener) openUnix(bind Bind, access *Access, inherited []int) (*Sockets, error) {
	s := &Sockets{Bind: bind, fds: inherited, shards: o.Shards}
	if len(inherited) == 0 {
		fd, err := o.listenUnix(bind, access)
		if err != nil {
			return nil, err
		}
		s.fds = []int{fd}
	}
	if bind.Path[0] != '@' {
		s.file, _ = os.Lstat(bind.Path)
	}
	return s, nil
}

// listenUnix makes a listening unix socket. It replaces the file that a killed process has left,
// but not one on which a process still listens.
func (o *Opener) listenUnix(bind Bind, access *Access) (int, error) {
	path := bind.Path
	sa, err := rawsys.UnixSockaddr(path)
	if err != nil {
		return -1, err
	}
	fd, errno := rawsys.Socket(unix.AF_UNIX, unix.SOCK_STREAM|o.Flags, 0)
	if errno != 0 {
		return -1, errno
	}
	err = bindFile(fd, sa, access)
	if errors.Is(err, unix.EADDRINUSE) && stale(sa, path) && os.Remove(path) == nil {
		err = bindFile(fd, sa, access)
	}
	if err != nil {
		rawsys.Close(fd)
		return -1, err
	}
	// The owner is set before the socket listens, so before any client can connect.
	if err = access.own(path); err == nil {
		if errno := rawsys.Listen(fd, bind.Options.Queue()); errno != 0 {
			err = errno
		}
	}
	if err != nil {
		if path[0] != '@' {
			_ = os.Remove(path)
		}
		rawsys.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindFile creates the file of a unix socket with its final permissions: bind(2) gives the file
// those of the socket minus the umask (not in unix(7); see unix_bind in the kernel).
func bindFile(fd int, sa *rawsys.Sockaddr, access *Access) error {
	if access != nil && access.Mode != 0 {
		if err := unix.Fchmod(fd, access.Mode); err != nil {
			return fmt.Errorf("cannot set the mode of the socket: %w", err)
		}
		// The umask applies to the whole process, but nothing else creates files while sockets are
		// opened.
		defer unix.Umask(unix.Umask(0))
	}
	if errno := sa.Bind(fd); errno != 0 {
		return errno
	}
	return nil
}

// own sets the owner of a socket's file.
func (a *Access) own(path string) error {
	if a == nil || a.User < 0 && a.Group < 0 || path[0] == '@' {
		return nil
	}
	if err := unix.Lchown(path, a.User, a.Group); err != nil {
		return fmt.Errorf("cannot change the owner of the socket: %w: only root can set another user; other users can only set a group that they are a member of", err)
	}
	return nil
}

// stale reports whether path is a unix socket on which no process listens.
func stale(sa *rawsys.Sockaddr, path string) bool {
	if path[0] == '@' {
		return false // the kernel frees an abstract name with its last socket
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	fd, errno := rawsys.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		return false
	}
	defer rawsys.Close(fd)
	return sa.Connect(fd) == unix.ECONNREFUSED
}
