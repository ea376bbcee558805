package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/listen"
)

// adminGrace is how long requests to the admin address may take to end when it is closed.
const adminGrace = 2 * time.Second

// adminAddress is the admin address of a process. It may change while the process runs.
type adminAddress struct {
	view     admin.View
	commands admin.Commands
	queries  admin.Queries
	events   admin.EventSource
	metrics  http.Handler
	lookup   control.Lookup // for a host name in admin.bind
	log      *slog.Logger

	mu      sync.Mutex
	current *adminSocket // nil: none
	running sync.WaitGroup
}

// adminSocket is a listening socket with the server on it.
type adminSocket struct {
	plan     *control.AdminPlan
	sockets  *listen.Sockets // without descriptors; for the file of a unix socket
	listener net.Listener
	server   *admin.Server
	// inherited says that the socket is another process's, too.
	inherited bool
}

// open opens the socket of a plan, or takes an inherited one. It does not serve yet.
func (a *adminAddress) open(p *control.AdminPlan, inherited ...int) error {
	if p == nil {
		return nil
	}
	s, err := a.listen(p, inherited...)
	if err != nil {
		return err
	}
	a.current = s
	return nil
}

func (a *adminAddress) listen(p *control.AdminPlan, inherited ...int) (*adminSocket, error) {
	opener := listen.Opener{Shards: 1, Flags: unix.SOCK_NONBLOCK}
	a.mu.Lock()
	if a.current != nil { // it may overlap the new one, such as 127.0.0.1 and 0.0.0.0
		opener.Own = []listen.Bind{a.current.sockets.Bind}
	}
	a.mu.Unlock()
	sockets, err := opener.Open(p.Bind, p.Access, inherited...)
	if err != nil {
		return nil, adminError{fmt.Errorf("%s: admin address: %w", p.Bind.Place, err)}
	}
	l, err := listenerOf(sockets.Take(0)[0])
	if err != nil {
		sockets.Unlink()
		return nil, err
	}
	s := a.serverOn(p, sockets, l)
	s.inherited = len(inherited) > 0
	return s, nil
}

// listenerOf makes a net.Listener of a listening socket, which belongs to it.
func listenerOf(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "admin address")
	defer file.Close()
	l, err := net.FileListener(file) // of a duplicate, which it makes non-blocking
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	return l, nil
}

func (a *adminAddress) serverOn(p *control.AdminPlan, sockets *listen.Sockets, l net.Listener) *adminSocket {
	address := admin.Address{Unix: p.Bind.IsUnix(), Loopback: p.Loopback, Host: p.Host, Token: string(p.Token)}
	address.Port = sockets.Bind.Addr.Port()
	return &adminSocket{
		plan: p, sockets: sockets, listener: l,
		server: admin.New(l, admin.Options{Address: address, View: a.view, Commands: a.commands, Queries: a.queries, Events: a.events, Metrics: a.metrics, Log: a.log}),
	}
}

// adminError is an error about the admin address.
type adminError struct{ err error }

func (e adminError) Error() string { return e.err.Error() }
func (e adminError) Unwrap() error { return e.err }

// address is the address that is open; "" if there is none.
func (a *adminAddress) address() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return ""
	}
	return a.current.sockets.Bind.String()
}

// serve serves the current socket, if there is one.
func (a *adminAddress) serve() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != nil {
		a.start(a.current)
	}
}

func (a *adminAddress) start(s *adminSocket) {
	a.log.Info("admin address open", "address", s.sockets.Bind.String())
	a.running.Go(func() {
		if err := s.server.Serve(); err != nil {
			a.log.Error("admin address failed", "error", err.Error())
		}
	})
}

// stop closes the address, and returns when nothing of it is left.
func (a *adminAddress) stop() {
	a.mu.Lock()
	s := a.current
	a.current = nil
	a.mu.Unlock()
	if s != nil {
		s.sockets.Unlink()
		s.shutdown()
	}
	a.running.Wait()
}

// discard closes an address that was never served.
func (a *adminAddress) discard() {
	if a.current != nil {
		a.current.close()
		a.current = nil
	}
}

// close closes a socket that was never served.
func (s *adminSocket) close() {
	if !s.inherited {
		s.sockets.Unlink()
	}
	_ = s.listener.Close()
}

func (s *adminSocket) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
	defer cancel()
	s.server.Shutdown(ctx)
}

// handOver is a duplicate of the listening socket for the next process, and its name there; -1 if
// there is none.
func (a *adminAddress) handOver() (fd int, name string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current == nil {
		return -1, "", nil
	}
	fd, err = a.current.duplicate()
	return fd, a.current.plan.Bind.String(), err
}

// release leaves the socket, with its file, to the process that has taken it over. A request that
// is being answered still gets its answer.
func (a *adminAddress) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.current; s != nil {
		a.current = nil
		_ = s.listener.Close()
		a.running.Go(s.shutdown)
	}
}

// duplicate does not use File: the Fd of what that returns makes the socket blocking, for all of
// its duplicates.
func (s *adminSocket) duplicate() (fd int, err error) {
	raw, err := s.listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, cmp.Or(failed, err)
}

// stage prepares the change to another configuration: commit makes it, abort leaves everything as
// it is. Both are nil if nothing changes.
func (a *adminAddress) stage(_, next *config.Config) (commit, abort func(), err error) {
	plan, err := control.PlanAdmin(context.Background(), next, a.lookup)
	if err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	old := a.current
	a.mu.Unlock()
	switch {
	case old == nil && plan == nil:
		return nil, nil, nil
	case plan == nil:
		return func() { a.replace(old, nil) }, nil, nil
	case old != nil && sameSocket(old.plan, plan):
		return a.stageAgain(old, plan)
	}
	s, err := a.listen(plan)
	if err != nil {
		return nil, nil, err
	}
	return func() { a.replace(old, s) }, s.close, nil
}

// stageAgain is stage for a change that leaves the socket as it is.
func (a *adminAddress) stageAgain(old *adminSocket, plan *control.AdminPlan) (commit, abort func(), err error) {
	if reflect.DeepEqual(old.plan.Access, plan.Access) && old.plan.Token == plan.Token && old.plan.Host == plan.Host {
		return nil, nil, nil
	}
	s, err := a.again(old, plan)
	if err != nil {
		return nil, nil, err
	}
	undo, err := old.sockets.SetAccess(old.plan.Access, plan.Access)
	if err != nil {
		_ = s.listener.Close()
		return nil, nil, adminError{fmt.Errorf("admin address: %w", err)}
	}
	return func() { a.replace(old, s) }, func() { undo(); _ = s.listener.Close() }, nil
}

// sameSocket reports whether one socket serves both plans.
func sameSocket(a, b *control.AdminPlan) bool {
	return a.Bind.Addr == b.Bind.Addr && a.Bind.Path == b.Bind.Path
}

// again is another server on the same socket: no client in its queue is lost.
func (a *adminAddress) again(old *adminSocket, plan *control.AdminPlan) (*adminSocket, error) {
	fd, err := old.duplicate()
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	l, err := listenerOf(fd)
	if err != nil {
		return nil, err
	}
	return a.serverOn(plan, old.sockets, l), nil
}

// replace serves s instead of old; each may be nil. The request for the change may be one of the
// old server, so replace does not wait for it.
func (a *adminAddress) replace(old, s *adminSocket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = s
	if s != nil {
		a.start(s)
	}
	if old == nil {
		return
	}
	if s == nil || s.sockets != old.sockets {
		old.sockets.Unlink()
		a.log.Info("admin address closed", "address", old.sockets.Bind.String())
	}
	_ = old.listener.Close() // from now on, all clients are the new server's
	a.running.Go(old.shutdown)
}
