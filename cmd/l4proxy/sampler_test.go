package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"l4proxy/admin"
	"l4proxy/events"
)

// sampled is what a sampler of a test collects.
type sampled struct {
	mu    sync.Mutex
	stats admin.Stats
	lost  uint64
}

func (s *sampled) collect() admin.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Time = time.Now()
	stats.Listeners = append([]admin.ListenerStats{}, s.stats.Listeners...)
	return stats
}

func (s *sampled) dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

func (s *sampled) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// sampling runs a sampler in the bubble of synctest until the returned function is called.
func sampling(src *sampled) (*eventSource, func()) {
	hub := events.NewHub(time.Now())
	s := newSampler(src.collect, src.dropped, hub)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()
	synctest.Wait()
	return &eventSource{hub, s}, func() { cancel(); <-done }
}

// A sample is taken every second while a stream wants them, else every 5s, and the history has one
// every 5s, for 10 minutes.
func TestSamplePeriods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, stop := sampling(new(sampled))
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, n := e.sampler.now(); n != 13 {
			t.Errorf("%d samples in a minute, want 13", n)
		}
		_, unwatch := e.sampler.watch()
		time.Sleep(time.Minute)
		if _, n := e.sampler.now(); n < 13+60 || n > 13+61 {
			t.Errorf("%d samples after another minute with a stream", n)
		}
		unwatch()
		time.Sleep(20 * time.Minute)
		past := e.sampler.past()
		if len(past) != samplesKept {
			t.Fatalf("%d samples are kept, want %d", len(past), samplesKept)
		}
		if age := past[len(past)-1].Time.Sub(past[0].Time); age < 9*time.Minute || age > 10*time.Minute {
			t.Errorf("the history spans %v", age)
		}
	})
}

// Clients that are denied or not served make one event for each listener in 10s, however many they
// are.
func TestEventsAboutClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &sampled{stats: admin.Stats{Listeners: []admin.ListenerStats{{Name: "a", Denied: 7}, {Name: "b", Failed: 9}}}}
		e, stop := sampling(src)
		defer stop()
		told := func(want ...string) {
			t.Helper()
			synctest.Wait()
			list, _ := e.hub.After(0, events.Kept)
			var got []string
			for _, e := range list {
				got = append(got, fmt.Sprint(e.Type, " ", e.Level, " ", e.Listener, " ", e.Details["count"]))
			}
			if strings.Join(got, "; ") != strings.Join(want, "; ") {
				t.Errorf("events: %q, want %q", got, want)
			}
		}
		told() // what the process had counted before is no news
		src.change(func() { src.stats.Listeners[0].Denied += 1000 })
		time.Sleep(5 * time.Second)
		told("clients_denied info a 1000")
		src.change(func() { src.stats.Listeners[0].Denied++; src.stats.Listeners[1].Failed += 2; src.lost = 4 })
		time.Sleep(5 * time.Second)
		told("clients_denied info a 1000", "clients_failed warn b 2", "log_dropped warn  4")
		time.Sleep(5 * time.Second)
		told("clients_denied info a 1000", "clients_failed warn b 2", "log_dropped warn  4", "clients_denied info a 1")
		src.change(func() { src.stats.Listeners = append(src.stats.Listeners, admin.ListenerStats{Name: "new", Denied: 3}) })
		time.Sleep(time.Minute)
		told("clients_denied info a 1000", "clients_failed warn b 2", "log_dropped warn  4", "clients_denied info a 1", "clients_denied info new 3")
		// A listener that was removed, and is back, counts on; or begins again.
		kept := src.stats.Listeners
		src.change(func() { src.stats.Listeners = kept[:1] })
		time.Sleep(time.Minute)
		src.change(func() { src.stats.Listeners = kept; kept[2].Denied++ })
		time.Sleep(time.Minute)
		src.change(func() { src.stats.Listeners = kept[:2] })
		time.Sleep(time.Minute)
		src.change(func() { src.stats.Listeners = kept; kept[2].Denied = 2 })
		time.Sleep(time.Minute)
		src.change(func() { kept[2].Denied = 7 })
		time.Sleep(time.Minute)
		told("clients_denied info a 1000", "clients_failed warn b 2", "log_dropped warn  4", "clients_denied info a 1", "clients_denied info new 3",
			"clients_denied info new 1", "clients_denied info new 2", "clients_denied info new 5")
	})
}

// What is remembered of removed listeners is bounded.
func TestRemovedListenersAreForgotten(t *testing.T) {
	c := clientCounts{publish: func(events.Event) {}, listeners: make(map[string]*clientCount), logDropped: func() uint64 { return 0 }}
	for i := range 3 * goneKept {
		c.compare(&admin.Stats{Time: time.Now(), Listeners: []admin.ListenerStats{{Name: fmt.Sprint(i)}}})
		if len(c.listeners) > goneKept+2 {
			t.Fatalf("%d listeners are remembered", len(c.listeners))
		}
	}
}

// A sample has a bounded number of pools: those with problems, then the busiest.
func TestSamplesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := new(sampled)
		for i := range 10_000 {
			src.stats.Pools = append(src.stats.Pools, admin.PoolStats{Name: fmt.Sprintf("p%05d", i), Connections: int64(i), Serving: i != 3, Usable: 1, Backends: 1})
		}
		e, stop := sampling(src)
		defer stop()
		latest, _ := e.sampler.now()
		if n := len(latest.Pools); n != mostSampled || cap(latest.Pools) > 2*mostSampled {
			t.Fatalf("%d pools, room for %d", n, cap(latest.Pools))
		}
		if first, second := latest.Pools[0].Name, latest.Pools[1].Name; first != "p00003" || second != fmt.Sprintf("p%05d", 10_001-mostSampled) {
			t.Errorf("the first pools are %s and %s", first, second)
		}
	})
}

// A stream has the history, then what has happened, then what happens; a receiver that is slow
// misses events and learns how many, and gets only the latest sample.
func TestFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, stop := sampling(new(sampled))
		defer stop()
		e.hub.Publish(events.Event{Message: "first"})
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		resume := make(chan struct{})
		done := make(chan error)
		go func() {
			done <- e.Follow(ctx, 0, true, func(m admin.StreamMessage) error {
				switch {
				case m.Event != nil:
					got = append(got, m.Event.Message)
				case m.Gap != nil:
					got = append(got, fmt.Sprint("gap ", m.Gap.Missed))
				case m.Stats != nil:
					got = append(got, "stats")
				default:
					got = append(got, fmt.Sprint("history ", len(m.History)))
				}
				if len(got) == 3 {
					<-resume
				}
				return nil
			})
		}()
		synctest.Wait()
		for i := range events.Kept + 5 {
			e.hub.Publish(events.Event{Message: fmt.Sprint(i)})
		}
		time.Sleep(time.Minute + samplePeriod/2) // between two samples
		synctest.Wait()
		close(resume)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(got) != 3+1+events.Kept+1 {
			t.Fatalf("%d messages: %q", len(got), got[:min(10, len(got))])
		}
		want := []string{"history 1", "first", "stats", "gap 5", "5"}
		if strings.Join(got[:5], ", ") != strings.Join(want, ", ") || got[len(got)-1] != "stats" {
			t.Errorf("%q ... %q, want %q", got[:5], got[len(got)-1], want)
		}
		first := ""
		stopped := errors.New("stopped")
		if err := e.Follow(t.Context(), 0, false, func(m admin.StreamMessage) error {
			if m.Gap != nil {
				first = fmt.Sprint("gap ", m.Gap.Missed)
			} else {
				first = m.Event.Message
			}
			return stopped
		}); err != stopped || first != "5" {
			t.Errorf("a new receiver begins with %s, want the oldest event that is kept: %v", first, err)
		}
		broken := errors.New("broken")
		if err := e.Follow(t.Context(), 0, false, func(admin.StreamMessage) error { return broken }); err != broken {
			t.Errorf("error %v", err)
		}
	})
}
