package health

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
)

// server answers checks as a test says, and records when they begin.
type server struct {
	mu    sync.Mutex
	err   error
	takes time.Duration
	begun []time.Duration // since the test began
	start time.Time
}

func newServer() *server { return &server{start: time.Now()} }

func (s *server) become(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// times is when checks have begun.
func (s *server) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.begun)
}

func (s *server) check(ctx context.Context) error {
	s.mu.Lock()
	err, takes := s.err, s.takes
	s.begun = append(s.begun, time.Since(s.start))
	s.mu.Unlock()
	if takes == 0 {
		return err
	}
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// farm is servers by address; it is their checker.
type farm map[string]*server

func (f farm) Check(ctx context.Context, addr net.Addr, _ string) error {
	return f[addr.String()].check(ctx)
}

// targets adds n servers to f.
func (f farm) targets(n int) (targets []Target) {
	for range n {
		addr := &net.UnixAddr{Name: fmt.Sprintf("/server-%d", len(f)), Net: "unix"}
		f[addr.String()] = newServer()
		targets = append(targets, Target{Backend: &backend.Backend{Address: addr.Name}, Addr: addr})
	}
	return targets
}

func (f farm) of(t Target) *server { return f[t.Addr.String()] }

// told is a Change and the time when it was reported.
type told struct {
	Change
	at time.Duration
}

// watch runs a Monitor until stop is called, and records the changes.
type watch struct {
	*Monitor
	groups  []*Checks
	follow  func(Change)
	mu      sync.Mutex
	changes []told
	stop    func()
}

func run(groups ...Group) *watch {
	w := watching(nil, groups...)
	w.stop = w.start()
	return w
}

// watching makes a watch that calls follow, if it is not nil, for each change.
func watching(follow func(Change), groups ...Group) *watch {
	w := &watch{Monitor: New()}
	start := time.Now()
	w.follow = follow
	if follow == nil {
		w.follow = func(c Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.changes = append(w.changes, told{c, time.Since(start)})
		}
	}
	for _, g := range groups {
		w.groups = append(w.groups, w.Add(g))
	}
	return w
}

// start runs the Monitor. stop returns when everything has ended and follow was called for every
// change.
func (w *watch) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var monitor, followers sync.WaitGroup
	monitor.Go(func() { w.Run(ctx) })
	over := make(chan struct{})
	for _, checks := range w.groups {
		followers.Go(func() {
			for last := false; !last; {
				select {
				case <-checks.Changes.Ready:
				case <-over:
					last = true
				}
				for _, c := range checks.Changes.Take() {
					w.follow(c)
				}
			}
		})
	}
	return func() { cancel(); monitor.Wait(); close(over); followers.Wait() }
}

// Last is that of the first group.
func (w *watch) Last(b *backend.Backend) (Result, bool) { return w.groups[0].Last(b) }

func (w *watch) take() []told {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.changes
	w.changes = nil
	return changes
}

func wantChanges(t *testing.T, what string, got, want []told) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: told %+v, want %+v", what, got, want)
	}
}
