// Package observe watches a proxy by its admin address, as a monitoring system and an open
// dashboard do.
package observe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// How often an observer scrapes /metrics and loads a page of the dashboard.
const (
	ScrapePace = time.Second
	PagePace   = 2 * time.Second
)

// Seen is what an observer has seen.
type Seen struct {
	Scrapes      int     `json:"scrapes"`
	ScrapedBytes int     `json:"scraped_bytes"`
	SlowestMS    float64 `json:"slowest_ms"`
	Stats        int     `json:"stats"` // messages with live figures
	Pages        int     `json:"pages"` // of the status and of the connections
}

// Enough fails if less was seen than an observation of that length shows. Then the figures
// would be those of a proxy that was not observed.
func (s Seen) Enough(d time.Duration) error {
	for _, part := range []struct {
		name string
		seen int
		pace time.Duration
	}{
		{"scrapes", s.Scrapes, ScrapePace}, {"messages with live figures", s.Stats, ScrapePace}, {"pages", s.Pages, PagePace},
	} {
		// One may be missing at each end.
		if want := int(d/part.pace) - 1; part.seen < want {
			return fmt.Errorf("the observer has seen %d %s in %v, want at least %d", part.seen, part.name, d, want)
		}
	}
	return nil
}

// Run observes the proxy with that admin address until ctx ends, and returns what it has seen
// since it called ready. It calls ready once, when all that it does has worked. A request that
// fails ends it with an error.
func Run(ctx context.Context, address string, ready func()) (Seen, error) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	o := &observer{base: "http://" + address, client: &http.Client{Transport: transport}, ready: ready}
	if err := o.observe(ctx); err != nil && ctx.Err() == nil {
		return Seen{}, err
	}
	return o.seen, nil
}

type observer struct {
	base   string
	client *http.Client

	mu    sync.Mutex
	seen  Seen
	ready func() // nil once it was called
}

// observe does all that an observer does, at the same time, until ctx ends or a part fails.
func (o *observer) observe(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return every(ctx, ScrapePace, o.scrape) },
		func(ctx context.Context) error { return every(ctx, PagePace, o.page) },
		o.follow,
	}
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	var fault error
	for range parts {
		if err := <-ended; err != nil && fault == nil {
			fault = err
		}
		cancel()
	}
	return fault
}

// every calls f at that pace, from now on.
func every(ctx context.Context, pace time.Duration, f func(context.Context) error) error {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		if err := f(ctx); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *observer) scrape(ctx context.Context) error {
	from := time.Now()
	text, err := o.get(ctx, "/metrics")
	if err != nil {
		return err
	}
	took := time.Since(from)
	if !bytes.Contains(text, []byte("\nl4proxy_connections_active{")) {
		return errors.New("/metrics has no l4proxy_connections_active")
	}
	o.count(func(seen *Seen) {
		seen.Scrapes++
		seen.ScrapedBytes += len(text)
		seen.SlowestMS = max(seen.SlowestMS, float64(took)/float64(time.Millisecond))
	})
	return nil
}

// page loads what a page of the dashboard loads beside the stream.
func (o *observer) page(ctx context.Context) error {
	for _, path := range []string{"/api/v1/status", "/api/v1/connections?sort=rate&limit=100"} {
		if _, err := o.get(ctx, path); err != nil {
			return err
		}
	}
	o.count(func(seen *Seen) { seen.Pages++ })
	return nil
}

// get returns the body of an answer.
func (o *observer) get(ctx context.Context, path string) ([]byte, error) {
	answer, err := o.ask(ctx, path, "*/*")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}

// ask returns an answer with status 200. The caller closes its body.
func (o *observer) ask(ctx context.Context, path, accept string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.base+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", accept)
	answer, err := o.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return answer, nil
}

// follow reads the event stream with live figures.
func (o *observer) follow(ctx context.Context) error {
	answer, err := o.ask(ctx, "/api/v1/events?stats=true", "text/event-stream")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the event stream: %w", err)
		}
		if strings.TrimSpace(line) == "event: stats" {
			o.count(func(seen *Seen) { seen.Stats++ })
		}
	}
}

// count changes what was seen.
func (o *observer) count(change func(*Seen)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.seen)
	if o.ready != nil && o.seen.Scrapes > 0 && o.seen.Stats > 0 && o.seen.Pages > 0 {
		o.ready()
		o.ready, o.seen = nil, Seen{}
	}
}
