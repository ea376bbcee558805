package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// sendTimeout bounds a notification, in case the service manager hangs.
const sendTimeout = time.Second

// Notifies reports whether the service manager takes notifications.
func (m *Manager) Notifies() bool { return m != nil && m.notify != "" }

// Notify sends a notification of lines such as READY=1. Without a service manager that takes
// notifications, it does nothing.
func (m *Manager) Notify(lines ...string) error { return m.send(nil, lines...) }

// Reloading says that a reload begins. READY=1 ends it.
func (m *Manager) Reloading() error {
	return m.Notify("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", rawsys.Monotonic()/int64(time.Microsecond)))
}

// MainPID says that another process is now the main process of the service. Its messages count from
// then on.
func (m *Manager) MainPID(pid int) error { return m.Notify(fmt.Sprintf("MAINPID=%d", pid)) }

// send sends a notification together with descriptors.
func (m *Manager) send(fds []int, lines ...string) error {
	if !m.Notifies() {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		timeout := unix.NsecToTimeval(int64(sendTimeout))
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err == nil {
			var rights []byte
			if len(fds) > 0 {
				rights = unix.UnixRights(fds...)
			}
			// While systemd is busy, this blocks. After a signal, the kernel does not restart it,
			// because it has a timeout (signal(7)).
			for end := time.Now().Add(sendTimeout); ; {
				err = unix.Sendmsg(fd, []byte(strings.Join(lines, "\n")), rights, &unix.SockaddrUnix{Name: m.notify}, unix.MSG_NOSIGNAL)
				if err != unix.EINTR || time.Now().After(end) {
					break
				}
			}
		}
	}
	if err != nil {
		return fmt.Errorf("cannot notify systemd of %s: %w", lines[0], err)
	}
	return nil
}

// Watch sends the watchdog a sign of life twice per period until ctx is done, as long as alive
// reports true. alive must return when its context is done. stuck is called when it reports false;
// if that lasts, systemd ends the process and restarts it. sent is called after each attempt to
// send the sign. Watch tries again after a failure: a service manager may be busy for a while, and
// silence would end a healthy process.
func (m *Manager) Watch(ctx context.Context, alive func(context.Context) bool, stuck func(), sent func(error)) {
	if !m.Notifies() || m.watchdog == 0 {
		return
	}
	ticker := time.NewTicker(m.watchdog / 2)
	defer ticker.Stop()
	for {
		look, cancel := context.WithTimeout(ctx, m.watchdog/2)
		ok := alive(look)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if ok {
			sent(m.Notify("WATCHDOG=1"))
		} else {
			stuck()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
