package confine

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is a user to become.
type User struct {
	Name     string // for messages
	UID, GID int
	Groups   []int // supplementary
}

// current reports whether the process runs as the user.
func (u *User) current() bool {
	return unix.Getuid() == u.UID && unix.Geteuid() == u.UID && unix.Getgid() == u.GID && unix.Getegid() == u.GID
}

// Allowed returns an error if this process can neither become the user nor is it.
func (u *User) Allowed() error {
	if u.current() {
		return nil
	}
	effective, _, _, err := capget()
	if err == nil && effective.Has(unix.CAP_SETUID) && effective.Has(unix.CAP_SETGID) {
		return nil
	}
	return fmt.Errorf("cannot change to user %s: this process runs as user %d without the privilege for it: "+
		"start l4proxy as root, or as that user", u.Name, unix.Geteuid())
}

// become changes the user, groups and capabilities of all threads. The capabilities that are kept
// survive execve(2), so that the next process of an upgrade has them too.
func (u *User) become(keep Set) error {
	if err := u.Allowed(); err != nil {
		return err
	}
	effective, permitted, _, err := capget()
	if err != nil {
		return err
	}
	keep &= permitted
	if effective.Has(unix.CAP_SETPCAP) {
		if err := dropBounding(^keep); err != nil {
			return err
		}
	}
	if err := setOnAllThreads(unix.PR_SET_KEEPCAPS, 1, 0); err != nil {
		return fmt.Errorf("keepcaps: %w", err)
	}
	// Package syscall changes all threads, x/sys/unix only this one (of the groups). The user is
	// last: afterwards, nothing else could be changed.
	if err := syscall.Setgroups(u.Groups); err != nil {
		return fmt.Errorf("cannot set the groups of user %s: %w", u.Name, err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return fmt.Errorf("cannot change to the group %d of user %s: %w", u.GID, u.Name, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("cannot change to user %s: %w", u.Name, err)
	}
	if err := capset(keep, keep, keep); err != nil {
		return err
	}
	if err := setOnAllThreads(unix.PR_SET_KEEPCAPS, 0, 0); err != nil {
		return fmt.Errorf("keepcaps: %w", err)
	}
	return raiseAmbient(keep)
}

// Try runs f on a thread that accesses files as the user does, with the groups and without the
// privileges of root. It needs root; for other users and for the user itself, it just runs f.
func (u *User) Try(f func() error) error {
	if unix.Geteuid() != 0 || u.current() {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := u.tryHere(f)
		done <- err
	}()
	return <-done
}

// tryHere changes only this thread, for which the libraries have no call: all of theirs change the
// process. Once everything is restored, other goroutines may have the thread again; else it ends
// with its goroutine.
func (u *User) tryHere(f func() error) error {
	before, err := unix.Getgroups()
	if err != nil {
		return err
	}
	if err := setThreadGroups(u.Groups); err != nil {
		return err
	}
	// Root's privileges for files follow from the user (capabilities(7), user ID changes).
	gid, uid := setThreadID(unix.SYS_SETFSGID, u.GID), setThreadID(unix.SYS_SETFSUID, u.UID)
	failed := f()
	setThreadID(unix.SYS_SETFSUID, uid)
	setThreadID(unix.SYS_SETFSGID, gid)
	if setThreadGroups(before) == nil && setThreadID(unix.SYS_SETFSUID, uid) == uid && setThreadID(unix.SYS_SETFSGID, gid) == gid {
		runtime.UnlockOSThread()
	}
	return failed
}

// Readable returns an error for the first of the files that the user cannot read.
func (u *User) Readable(files ...string) error {
	return u.Try(func() error {
		for _, name := range files {
			f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return fmt.Errorf("user %s cannot read %s: %w: make it readable for that user (chown, chmod), or a reload and an upgrade will fail", u.Name, name, err)
			}
			_ = f.Close()
		}
		return nil
	})
}

// CanCreate reports whether the user can create and remove files in a directory.
func (u *User) CanCreate(dir string) bool {
	return u.Try(func() error {
		return unix.Faccessat2(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) // of this thread's user
	}) == nil
}

// In reports whether a group is one of the user's.
func (u *User) In(gid int) bool { return u.GID == gid || slices.Contains(u.Groups, gid) }
