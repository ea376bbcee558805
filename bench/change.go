package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The changes that a proxy makes while it runs.
const (
	reload  = "reload"  // to another configuration
	upgrade = "upgrade" // to another binary, which reads another configuration
)

// change is how a peer makes one kind of change, in the way that its documentation
// recommends.
type change struct {
	// command is the command line to start with, in place of the peer's usual one.
	command func(setup) ([]string, error)
	// apply makes the peer take the configuration that has just been written, or
	// fails if the peer is no longer there. It does not wait until clients meet
	// the new configuration: the load shows that.
	apply func(context.Context, *changing) error
}

// changing is a running peer that is changed again and again.
type changing struct {
	change
	*group
	setup
	name string
	turn int // changes so far
}

// next writes the other configuration and has the peer take it. It returns the
// number of the origin that is behind the new configuration.
func (c *changing) next(ctx context.Context) (number int, err error) {
	c.turn++
	c.Backends, c.Others = c.Others, c.Backends
	// The same files again: the command line does not change.
	if _, err := c.command(c.setup); err != nil {
		return 0, err
	}
	return c.turn%2 + 1, c.apply(ctx, c)
}

// newest returns the process that started last, which is the one that serves new
// clients where each generation is one process.
func (c *changing) newest() (int, error) {
	members, err := c.members()
	if err != nil {
		return 0, err
	}
	if len(members) == 0 {
		return 0, fmt.Errorf("%s has ended", c.name)
	}
	return members[len(members)-1].pid, nil
}

// signalFirst sends a signal to the process that was started first.
func signalFirst(signal syscall.Signal) func(context.Context, *changing) error {
	return func(_ context.Context, c *changing) error { return kill(c.name, c.id, signal) }
}

// signalNewest sends a signal to the process that was started last.
func signalNewest(signal syscall.Signal) func(context.Context, *changing) error {
	return func(_ context.Context, c *changing) error {
		pid, err := c.newest()
		if err != nil {
			return err
		}
		return kill(c.name, pid, signal)
	}
}

func kill(name string, pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("%s, process %d: %v: %w", name, pid, signal, err)
	}
	return nil
}

// haproxyChanges returns how HAProxy changes: its master executes the binary on disk
// again, at a reload too, and hands the listening sockets to the next worker. The
// old worker serves its connections to their end.
//
// The other way, a new process with -x and -sf, is the same without a master. With
// version 2.6.12, old processes then keep polling a listening socket that they have
// closed, and use all CPU time of the machine.
func haproxyChanges(binary string) map[string]change {
	c := change{
		command: func(s setup) ([]string, error) {
			config, err := configure(s.template("haproxy.cfg"), s)
			return []string{binary, "-W", "-f", config}, err
		},
		apply: signalFirst(syscall.SIGUSR2),
	}
	return map[string]change{reload: c, upgrade: c}
}

// orphaned starts a server as an orphan in the group of a process that only waits.
// nginx takes SIGUSR2 only if its parent has ended: it concludes from a living parent
// that the upgrade before is not complete.
const orphaned = `("$@" & while [ ! -s nginx.pid ]; do sleep 0.01; done); exec sleep 1000000`

// nginxChanges returns how nginx changes. For an upgrade, the old master starts the
// new one (USR2). When that has its workers, the old workers finish (WINCH), and
// then the old master too (QUIT). While the old master has connections, nginx ignores
// a further USR2.
func nginxChanges(command func(setup) ([]string, error)) map[string]change {
	orphan := func(s setup) ([]string, error) {
		argv, err := command(s)
		return append([]string{"sh", "-c", orphaned, "sh"}, argv...), err
	}
	return map[string]change{
		reload: {command: command, apply: signalFirst(syscall.SIGHUP)},
		upgrade: {command: orphan, apply: func(ctx context.Context, c *changing) error {
			old, err := c.nginxMaster()
			if err != nil {
				return err
			}
			if err := kill(c.name, old, syscall.SIGUSR2); err != nil {
				return err
			}
			if !c.awaitNextMaster(ctx, old) {
				return nil // it was ignored, which the load shows
			}
			return errors.Join(kill(c.name, old, syscall.SIGWINCH), kill(c.name, old, syscall.SIGQUIT))
		}},
	}
}

// nginxMaster returns the process in the pid file.
func (c *changing) nginxMaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, "nginx.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// nextMasterTime is how long a new master and its workers may take to start.
const nextMasterTime = time.Second

// awaitNextMaster waits until another master than old has all its workers, and
// reports whether it has them in time.
func (c *changing) awaitNextMaster(ctx context.Context, old int) bool {
	ctx, cancel := context.WithTimeout(ctx, nextMasterTime)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		// The old master renames its file before the new one writes its own.
		if master, err := c.nginxMaster(); err == nil && master != old {
			if family, err := tree(master); err == nil && len(family) > c.Workers {
				return true
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
}

// l4proxyChanges returns how l4proxy changes: by a signal to its one process.
func l4proxyChanges(command func(setup) ([]string, error)) map[string]change {
	return map[string]change{
		reload:  {command: command, apply: signalNewest(syscall.SIGHUP)},
		upgrade: {command: command, apply: signalNewest(syscall.SIGUSR2)},
	}
}
