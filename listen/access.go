package listen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// SetAccess changes the permissions of a unix socket that is open already. What from and to have in
// common stays as it is. undo restores the old permissions. An abstract socket has no file, so it
// has no permissions.
func (s *Sockets) SetAccess(from, to *Access) (undo func(), err error) {
	if s.file == nil {
		return func() {}, nil
	}
	var before Access
	err = s.changeAccess(func(now Access) Access {
		before = now
		return now.changed(from.orDefault(), to.orDefault())
	})
	if err != nil {
		return nil, fmt.Errorf("cannot change the access to %s: %w", s.Bind, err)
	}
	return func() { _ = s.changeAccess(func(Access) Access { return before }) }, nil
}

func (a *Access) orDefault() Access {
	if a == nil {
		return Access{User: -1, Group: -1}
	}
	return *a
}

// changed is what the permissions now become when the settings change.
func (now Access) changed(from, to Access) Access {
	if to.Mode != from.Mode {
		if now.Mode = to.Mode; to.Mode == 0 {
			now.Mode = 0o777 &^ umask()
		}
	}
	if to.User != from.User {
		if now.User = to.User; to.User < 0 {
			now.User = unix.Geteuid()
		}
	}
	if to.Group != from.Group {
		if now.Group = to.Group; to.Group < 0 {
			now.Group = unix.Getegid()
		}
	}
	return now
}

// changeAccess changes the file of the socket, unless another process has replaced it.
func (s *Sockets) changeAccess(change func(now Access) Access) error {
	fd, err := unix.Open(s.Bind.Path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), s.Bind.Path)
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(s.file, info) {
		return errors.New("another process has replaced the file: remove it and restart l4proxy")
	}
	stat := info.Sys().(*syscall.Stat_t)
	now := Access{Mode: stat.Mode & 0o7777, User: int(stat.Uid), Group: int(stat.Gid)}
	to := change(now)
	if err = setAccess(fd, now, to); err != nil {
		_ = setAccess(fd, Access{}, now)
	}
	return err
}

// setAccess changes what differs. fd was opened with O_PATH. fchmod(2) refuses such a descriptor,
// so its link in /proc is used.
func setAccess(fd int, from, to Access) error {
	owner := from.User != to.User || from.Group != to.Group
	if owner {
		if err := unix.Fchownat(fd, "", to.User, to.Group, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("owner: %w: only root can set another user; other users can only set a group that they are a member of", err)
		}
	}
	if owner || from.Mode != to.Mode { // a new owner clears bits of the mode
		if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), to.Mode); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	return nil
}

// umask reads the umask of the process. umask(2) could only read it by changing it, while other
// goroutines may be creating files.
func umask() uint32 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(status) {
		if text, ok := bytes.CutPrefix(line, []byte("Umask:")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(text)), 8, 12)
			return uint32(n)
		}
	}
	return 0o077 // without /proc, rather too strict than too open
}
