package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"l4proxy/discovery"
)

// Lookup finds what a name stands for, IPv4 before IPv6, such as (*discovery.Directory).Lookup.
// Several goroutines call it at once.
type Lookup func(ctx context.Context, name discovery.Name) ([]discovery.Endpoint, error)

const (
	// lookupTimeout bounds one look-up: without a limit, a startup that hangs in one would not show
	// why. It leaves time for a second name server, after the usual 5s for the first.
	lookupTimeout = 10 * time.Second
	// lookupsAtOnce bounds the concurrent look-ups.
	lookupsAtOnce = 16
)

// resolve looks up names, each once and several at a time.
func (f *Facts) resolve(ctx context.Context, all []discovery.Name, lookup Lookup) {
	var names []discovery.Name
	for _, name := range all {
		if _, known := f.hosts[name]; !known {
			f.hosts[name] = answer[[]discovery.Endpoint]{}
			names = append(names, name)
		}
	}
	answers := make([]answer[[]discovery.Endpoint], len(names))
	next := make(chan int)
	var lookups sync.WaitGroup
	for range min(lookupsAtOnce, len(names)) {
		lookups.Go(func() {
			for i := range next {
				answers[i].value, answers[i].err = lookUp(ctx, names[i], lookup)
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	lookups.Wait()
	for i, name := range names {
		f.hosts[name] = answers[i]
	}
}

func lookUp(ctx context.Context, name discovery.Name, lookup Lookup) ([]discovery.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := lookup(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve the name: %w", err)
	}
	if len(found) == 0 {
		return nil, errors.New("cannot resolve the name: no IPv4 or IPv6 address")
	}
	return found, nil
}
