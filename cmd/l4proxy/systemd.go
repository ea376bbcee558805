package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"l4proxy/control"
	"l4proxy/proxy"
	"l4proxy/systemd"
)

// stopMargin is how long the rest of a shutdown may take: connections that are cut, the log.
const stopMargin = 10 * time.Second

// systemdService keeps systemd up to date about this process. Without systemd, it does nothing.
type systemdService struct {
	manager *systemd.Manager
	log     *slog.Logger

	mu     sync.Mutex
	stored map[string]string // by listener: the addresses of its stored sockets

	failed atomic.Bool // the last notification has failed
}

// newSystemdService takes the listeners whose stored sockets were no longer needed.
func newSystemdService(manager *systemd.Manager, log *slog.Logger, dropped []string) *systemdService {
	s := &systemdService{manager: manager, log: log, stored: make(map[string]string)}
	for _, listener := range dropped {
		log.Info("socket of the file descriptor store closed: its listener no longer binds there", "listener", listener)
		s.stored[listener] = "" // store removes it
	}
	return s
}

// outdated makes store replace or remove the stored sockets of a listener: the process before has
// stored some that this one does not have.
func (s *systemdService) outdated(listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[listener] = ""
}

// listenersOf is what systemd's sockets are matched with.
func listenersOf(plan *control.Plan) (all []systemd.Listener) {
	for _, l := range plan.Listeners {
		all = append(all, systemd.Listener{Name: l.Name, Binds: l.Binds})
	}
	return all
}

// run reports that the proxy serves, and feeds the watchdog until ctx is done. A loop that is stuck
// gets the process restarted.
func (s *systemdService) run(ctx context.Context, server *proxy.Server) {
	alive := func(ctx context.Context) bool { return server.Alive(ctx) == nil }
	if !s.manager.Notifies() || !alive(ctx) {
		return
	}
	s.ready(server)
	s.manager.Watch(ctx, alive, func() {
		s.log.Error("an event loop does not respond: systemd restarts l4proxy if this lasts")
	}, s.check)
}

// ready reports that the State is in service, and stores its listening sockets.
func (s *systemdService) ready(server *proxy.Server) {
	if !s.manager.Notifies() {
		return
	}
	sockets, err := server.ListeningSockets()
	if err != nil { // the server stops, or is out of descriptors
		s.check(err)
		s.check(s.manager.Notify("READY=1"))
		return
	}
	defer proxy.CloseSockets(sockets)
	s.check(s.store(sockets))
	s.check(s.manager.Notify("READY=1", fmt.Sprintf("STATUS=Serving on %d addresses", len(sockets))))
}

// reloading reports that a reload begins, or that it has ended.
func (s *systemdService) reloading(server *proxy.Server, on bool) {
	if on {
		s.check(s.manager.Reloading())
		return
	}
	s.ready(server)
}

// stopping reports the beginning of a shutdown that may take as long as limit, so that systemd
// waits for its end. Nothing stays in the store: while the proxy drains, the kernel has to refuse
// clients. In the queue of a stored socket, they would wait for a process that may never come.
func (s *systemdService) stopping(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for listener := range s.stored {
		s.check(s.manager.Unstore(listener))
	}
	clear(s.stored)
	s.check(s.manager.Notify("STOPPING=1", "STATUS=Waiting for connections to end",
		fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (limit+stopMargin)/time.Microsecond)))
}

// store puts the sockets of all listeners into the file descriptor store, except for those that a
// socket unit keeps open anyway. It replaces what has changed.
func (s *systemdService) store(sockets []proxy.ListeningSocket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := make(map[string][]int)
	addresses := make(map[string]string)
	for _, one := range sockets {
		if !one.KeepFile {
			fds[one.Listener] = append(fds[one.Listener], one.FDs...)
			addresses[one.Listener] += " " + one.Addr.String()
		}
	}
	for _, listener := range slices.Sorted(maps.Keys(s.stored)) {
		if now := addresses[listener]; now != "" && now == s.stored[listener] {
			continue
		}
		if err := s.manager.Unstore(listener); err != nil {
			return err
		}
		delete(s.stored, listener)
	}
	for _, listener := range slices.Sorted(maps.Keys(fds)) {
		if s.stored[listener] != "" {
			continue
		}
		if err := s.manager.Store(listener, fds[listener]); err != nil {
			return err
		}
		s.stored[listener] = addresses[listener]
	}
	return nil
}

// check logs the first of several errors in a row.
func (s *systemdService) check(err error) {
	if before := s.failed.Swap(err != nil); err != nil && !before {
		s.log.Warn("systemd not notified", "error", err.Error())
	}
}
