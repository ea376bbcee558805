package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/proxy"
)

// leftListed is how many of the oldest connections the report of a drain lists.
const leftListed = 10

// errDraining is the answer to a request to stop a proxy that is stopping already.
var errDraining = errors.New("the proxy is already draining")

// drainState is a word for how far a process is on its way to its end.
type drainState string

const (
	stateServing  drainState = ""
	stateWaiting  drainState = "waiting"  // drain.delay: clients are still accepted
	stateDraining drainState = "draining" // connections may still end by themselves
	stateDone     drainState = "done"
)

// drainRequest asks the process to stop gracefully.
type drainRequest struct {
	// signal is nil if the request came through the admin API.
	signal os.Signal
	// timeout replaces drain.timeout; nil leaves it.
	timeout *time.Duration
}

// processDrain describes the graceful stop of the process.
type processDrain struct {
	State drainState `json:"state"`
	Since time.Time  `json:"since"`
	// Deadline is when the connections that are left are closed; nil while drain.delay lasts.
	Deadline *time.Time `json:"deadline,omitempty"`
	// Before were open when accepting ended. Left, if any, were closed at the deadline.
	Before int         `json:"before"`
	Left   *proxy.Left `json:"left,omitempty"`
}

// drainer is what a process knows about its graceful stop. The zero value serves.
type drainer struct {
	once     sync.Once
	requests chan drainRequest // made by ready

	mu      sync.Mutex
	current processDrain
}

// asked is the channel of the requests. There is never more than one.
func (d *drainer) asked() chan drainRequest {
	d.once.Do(func() { d.requests = make(chan drainRequest, 1) })
	return d.requests
}

// request starts a graceful stop. From this moment on, the process is not ready.
func (d *drainer) request(r drainRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current.State != stateServing {
		return errDraining
	}
	d.current = processDrain{State: stateWaiting, Since: time.Now()}
	d.asked() <- r
	return nil
}

// ready reports whether the process wants new clients: until it is asked to stop.
func (d *drainer) ready() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current.State == stateServing
}

// status describes the stop; ok is false if none was requested.
func (d *drainer) status() (s processDrain, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current, d.current.State != stateServing
}

func (d *drainer) update(f func(*processDrain)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.current)
}

// drain stops gracefully. After drain.delay, no new connections are accepted. During drain.spread,
// connections that are quiet are closed one after another. After drain.timeout, the remaining ones
// are closed. A second SIGTERM or SIGINT ends the waiting; a first one after a request of the admin
// API does not: an orchestrator that asks for a drain sends it in any case.
func (p *process) drain(ctx context.Context, r drainRequest, signals <-chan os.Signal) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	limits := p.stopReloading().Drain
	if r.timeout != nil {
		limits.Timeout = *r.timeout
	}
	limits.Spread = min(limits.Spread, limits.Timeout)
	p.systemd.stopping(limits.Delay + limits.Timeout)
	by := slog.String("request", "admin")
	if r.signal != nil {
		by = slog.String("signal", signalName(r.signal))
	}
	go p.awaitSecond(ctx, cancel, signals, r.signal == nil)
	p.log.Info("shutting down: waiting for connections to end", by, "connections", p.server.Connections(),
		"delay", limits.Delay.String(), "timeout", limits.Timeout.String(), "spread", limits.Spread.String())
	select {
	case <-time.After(limits.Delay):
	case <-ctx.Done():
	}
	open := p.server.Connections()
	deadline := time.Now().Add(limits.Timeout)
	p.drainer.update(func(d *processDrain) { d.State, d.Before, d.Deadline = stateDraining, open, &deadline })
	left := p.server.DrainOver(ctx, limits.Timeout, limits.Spread, leftListed)
	p.drainer.update(func(d *processDrain) { d.State, d.Left = stateDone, left })
	if left.Connections > 0 {
		p.log.Warn("connections were still open at the end of the drain", leftAttributes(left)...)
	}
	p.log.Info("stopped", "ended", max(0, open-left.Connections), "closed", left.Connections,
		seconds("duration", time.Since(began)))
}

// awaitSecond ends the drain with the second signal, until ctx is done. With spared, the first one
// to come is only logged.
func (p *process) awaitSecond(ctx context.Context, end func(), signals <-chan os.Signal, spared bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			switch {
			case s != unix.SIGTERM && s != unix.SIGINT:
			case spared:
				spared = false
				p.log.Info("already shutting down: the next signal closes all connections", "signal", signalName(s))
			default:
				p.log.Warn("second signal: closing all connections now", "signal", signalName(s))
				end()
				return
			}
		}
	}
}

func signalName(s os.Signal) string { return unix.SignalName(s.(unix.Signal)) }

// leftAttributes are the report of a drain, as lists on one log line.
func leftAttributes(left *proxy.Left) []any {
	var listeners, backends, oldest []string
	for _, l := range left.Listeners {
		listeners = append(listeners, fmt.Sprintf("%s %d", l.Listener, l.Connections))
	}
	for _, b := range left.Backends[:min(leftListed, len(left.Backends))] {
		backends = append(backends, fmt.Sprintf("%s %s %d", b.Pool, b.Backend, b.Connections))
	}
	for _, c := range left.Oldest {
		oldest = append(oldest, fmt.Sprintf("%s %s %s age %.1fs idle %.1fs in %d out %d",
			c.Listener, c.Client, c.Backend, c.Age, c.Idle, c.BytesIn, c.BytesOut))
	}
	return []any{
		"connections", left.Connections,
		"listeners", strings.Join(listeners, ", "),
		"backends", strings.Join(backends, ", "),
		"oldest", strings.Join(oldest, ", "),
	}
}
