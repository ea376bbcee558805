package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"l4proxy/admin"
	"l4proxy/events"
)

const (
	// samplePeriod is the time between two samples while a stream wants them, idlePeriod while none
	// does.
	samplePeriod = time.Second
	idlePeriod   = 5 * time.Second
	// samplesKept is the history: a sample each idlePeriod, for 10 minutes.
	samplesKept = int(10 * time.Minute / idlePeriod)
	// mostSampled bounds the listeners and the pools of a sample. With that many of each, the
	// history takes about 1 MB.
	mostSampled = 50
)

// sampler takes samples of what the process does, keeps a history of them, and publishes an event
// when clients are denied or not served.
type sampler struct {
	collect func() admin.Stats
	clients clientCounts
	started chan struct{} // wakes run: a stream wants samples

	mu       sync.Mutex
	history  []admin.Stats // the oldest first
	latest   admin.Stats
	number   uint64 // of samples so far
	watchers map[chan struct{}]struct{}
}

func newSampler(collect func() admin.Stats, logDropped func() uint64, hub *events.Hub) *sampler {
	return &sampler{
		collect: collect, clients: clientCounts{publish: hub.Publish, listeners: make(map[string]*clientCount), logDropped: logDropped},
		started: make(chan struct{}, 1), watchers: make(map[chan struct{}]struct{}),
	}
}

// run takes samples until ctx is done.
func (s *sampler) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.started:
		case <-timer.C:
		}
		timer.Reset(s.sample())
	}
}

// sample takes one sample, and returns the time until the next one.
func (s *sampler) sample() time.Duration {
	stats := s.collect()
	s.clients.compare(&stats)
	stats.Listeners = busiest(stats.Listeners, func(l *admin.ListenerStats) (string, bool, int64) {
		return l.Name, false, l.Connections
	})
	stats.Pools = busiest(stats.Pools, func(p *admin.PoolStats) (string, bool, int64) {
		return p.Name, !p.Serving || p.Usable < p.Backends, p.Connections
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = stats
	s.number++
	// A sample that is due a moment later still counts for this period.
	if n := len(s.history); n == 0 || stats.Time.Sub(s.history[n-1].Time) >= idlePeriod-samplePeriod/2 {
		s.history = append(s.history[max(0, n+1-samplesKept):], stats)
	}
	for wake := range s.watchers {
		select {
		case wake <- struct{}{}:
		default: // it has not looked yet
		}
	}
	if len(s.watchers) > 0 {
		return samplePeriod
	}
	return idlePeriod
}

// busiest returns mostSampled of all, by name: those with a problem, then those with the most
// connections.
func busiest[T any](all []T, rank func(*T) (name string, problem bool, connections int64)) []T {
	order := func(a, b T) int {
		nameA, problemA, connectionsA := rank(&a)
		nameB, problemB, connectionsB := rank(&b)
		switch {
		case problemA != problemB && problemA:
			return -1
		case problemA != problemB:
			return 1
		}
		return cmp.Or(cmp.Compare(connectionsB, connectionsA), strings.Compare(nameA, nameB))
	}
	if len(all) > mostSampled {
		all = slices.Clone(all)
		slices.SortFunc(all, order)
		all = slices.Clone(all[:mostSampled]) // the rest is not kept
	}
	slices.SortFunc(all, func(a, b T) int {
		nameA, _, _ := rank(&a)
		nameB, _, _ := rank(&b)
		return strings.Compare(nameA, nameB)
	})
	return all
}

// watch returns a channel that receives after each sample, until stop is called.
func (s *sampler) watch() (wake <-chan struct{}, stop func()) {
	woken := make(chan struct{}, 1)
	s.mu.Lock()
	s.watchers[woken] = struct{}{}
	s.mu.Unlock()
	select {
	case s.started <- struct{}{}:
	default:
	}
	return woken, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, woken)
	}
}

// past is the history, the oldest first.
func (s *sampler) past() []admin.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]admin.Stats{}, s.history...)
}

// now is the latest sample and its number, which is 0 if there is none.
func (s *sampler) now() (admin.Stats, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, s.number
}
