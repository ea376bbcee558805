package discovery

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds are how long an answer is used at least and at most, whatever its TTL.
type Bounds struct{ Min, Max time.Duration }

const (
	// maxRetry is the longest time between two look-ups while they fail: a name server that is back
	// should be noticed soon, whatever Max is.
	maxRetry = 30 * time.Second
	// jitter is by how much a wait is shortened at most, so that many proxies do not ask at the
	// same moment.
	jitter = 0.1
	// longestLookup bounds one look-up, with all its attempts.
	longestLookup = time.Minute
)

// Follow returns the Source of a name.
func (d *Directory) Follow(name Name, bounds Bounds) Source {
	return &follower{directory: d, name: name, bounds: bounds}
}

type follower struct {
	directory *Directory
	name      Name
	bounds    Bounds
	failures  int
}

// Run asks for the name when its TTL has passed. The first wait counts from the last answer. That
// one is set at once: it may have come after the look-up whose endpoints are in use.
func (f *follower) Run(ctx context.Context, set func(Endpoints)) error {
	wait, e := f.first()
	if e != nil && e.generation > 0 {
		set(Endpoints{Generation: e.generation, List: e.answer.Endpoints})
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		e, err := f.refresh(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			set(Endpoints{Generation: e.generation, List: e.answer.Endpoints})
		}
		timer.Reset(f.wait(e))
	}
}

func (f *follower) refresh(ctx context.Context) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, longestLookup)
	defer cancel()
	return f.directory.refresh(ctx, f.name)
}

// first is how long until the first look-up, and what is known already. A reload must not postpone
// it.
func (f *follower) first() (time.Duration, *entry) {
	f.directory.mu.Lock()
	e := f.directory.names[f.name]
	f.directory.mu.Unlock()
	if e == nil {
		return 0, nil
	}
	return max(0, f.wait(e)-time.Since(e.asked)), e
}

// wait is how long an answer is used. When there was none, the waits double from Min on.
func (f *follower) wait(e *entry) time.Duration {
	f.failures++
	if e.err == nil {
		f.failures = 0
	}
	d := min(max(e.answer.TTL, f.bounds.Min), f.bounds.Max)
	if f.failures > 0 {
		longest := max(f.bounds.Min, min(f.bounds.Max, maxRetry))
		d = f.bounds.Min
		for range f.failures - 1 {
			if d = min(2*d, longest); d == longest {
				break
			}
		}
	}
	return d - time.Duration(jitter*rand.Float64()*float64(d))
}
