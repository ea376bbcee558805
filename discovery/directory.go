package discovery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Directory keeps the last good answer of each name. Several goroutines may use it.
type Directory struct {
	lookup func(context.Context, Name) (Answer, error)

	mu         sync.Mutex
	log        *slog.Logger // nil until LogTo
	generation uint64
	names      map[Name]*entry
	counts     Counts
}

// entry is what is known of one name.
type entry struct {
	answer     Answer
	generation uint64    // 0: never resolved
	at         time.Time // of the answer
	asked      time.Time // the last time, with or without an answer
	err        error     // of the last look-up; nil unless it, or a part of it, failed
	failing    time.Time // since when
	retained   bool      // it is in use, and a source keeps it up to date

	failureLogged, dropLogged bool
}

// NewDirectory returns an empty Directory. lookup is (*Resolver).Lookup.
func NewDirectory(lookup func(context.Context, Name) (Answer, error)) *Directory {
	return &Directory{lookup: lookup, names: make(map[Name]*entry)}
}

// LogTo sets the log. Until then, nothing is logged: names are looked up before the log is open.
func (d *Directory) LogTo(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = log
}

// Lookup returns the last good answer of a name that is in use. It asks for all others: what is
// known of them, from a reload that was only tried, grows old.
func (d *Directory) Lookup(ctx context.Context, name Name) ([]Endpoint, error) {
	d.mu.Lock()
	e := d.names[name]
	d.mu.Unlock()
	if e != nil && e.generation > 0 && e.retained {
		return e.answer.Endpoints, nil
	}
	e, err := d.refresh(ctx, name)
	return e.answer.Endpoints, err
}

// Preload gives a name the answer of another Directory, from the time at which that had it, unless
// there is one already.
func (d *Directory) Preload(name Name, a Answer, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil && len(a.Endpoints) > 0 {
		d.generation++
		d.names[name] = &entry{answer: a.tidy(), generation: d.generation, at: at, asked: at, retained: true}
	}
}

// Retain forgets all names but these, which are in use now.
func (d *Directory) Retain(names map[Name]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, e := range d.names {
		if !names[name] {
			delete(d.names, name)
		} else if !e.retained {
			next := *e
			next.retained = true
			d.names[name] = &next
		}
	}
}

// Status is what is known of a name.
type Status struct {
	Name string `json:"name"`
	// Addresses are those of the last good answer, and Resolved is when it came; zero if there is
	// none yet. TTL is that of the answer, before it is bounded.
	Addresses []string  `json:"addresses"`
	Resolved  time.Time `json:"resolved,omitzero"`
	TTL       float64   `json:"ttl_seconds"`
	// Error is why the last look-up failed, and FailingSince when that began.
	Error        string    `json:"error,omitempty"`
	FailingSince time.Time `json:"failing_since,omitzero"`
}

// Status returns what is known of a name.
func (d *Directory) Status(name Name) Status {
	s := Status{Name: name.String(), Addresses: []string{}}
	d.mu.Lock()
	e := d.names[name]
	d.mu.Unlock()
	if e == nil {
		return s
	}
	for _, ep := range e.answer.Endpoints {
		s.Addresses = append(s.Addresses, ep.String())
	}
	s.Resolved, s.TTL = e.at, e.answer.TTL.Seconds()
	if e.err != nil {
		s.Error, s.FailingSince = e.err.Error(), e.failing
	}
	return s
}

// Counts are sums over all names.
type Counts struct {
	// Lookups are all look-ups, and Failed those that failed, or a part of which did. A look-up may
	// take several queries.
	Lookups, Failed uint64
	// Failing are the names in use whose last look-up failed.
	Failing int
}

// Counts returns what has been counted since NewDirectory.
func (d *Directory) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := d.counts
	for _, e := range d.names {
		if e.err != nil && e.retained {
			counts.Failing++
		}
	}
	return counts
}

// refresh asks for a name, and keeps what is found. Entries are replaced and never changed.
func (d *Directory) refresh(ctx context.Context, name Name) (*entry, error) {
	a, err := d.lookup(ctx, name)
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Lookups++
	before := d.names[name]
	if before == nil {
		before = new(entry)
	}
	next := *before
	next.asked = now
	if err == nil {
		next.answer = a.completed(before.answer.Endpoints)
		d.generation++
		next.at, next.generation = now, d.generation
		err = a.Err
	}
	next.err = err
	if errors.Is(ctx.Err(), context.Canceled) {
		return &next, ctx.Err() // the end of the process is no failure of a server
	}
	switch {
	case err == nil:
		next.failing = time.Time{}
	case before.err == nil:
		next.failing = now
	}
	if err != nil {
		d.counts.Failed++
	}
	d.report(name, before, &next)
	d.names[name] = &next
	if next.generation > before.generation {
		err = nil
	}
	return &next, err
}

// report logs what has changed, once each.
func (d *Directory) report(name Name, before, next *entry) {
	if d.log == nil || next.generation == 0 || !next.retained { // it is an error of the start or the reload
		return
	}
	log := d.log.With("name", name.String())
	switch {
	case next.err != nil && !before.failureLogged:
		log.Warn("cannot resolve the name, keeping its last addresses", "error", next.err.Error(),
			"addresses", len(next.answer.Endpoints), "age", age(next.asked.Sub(next.at)))
	case next.err == nil && before.failureLogged:
		log.Info("name resolves again", "addresses", len(next.answer.Endpoints), "failing", age(next.asked.Sub(before.failing)))
	}
	if next.answer.Dropped > 0 && !before.dropLogged {
		log.Warn("name has too many addresses, ignoring some", "used", len(next.answer.Endpoints), "ignored", next.answer.Dropped)
	}
	next.failureLogged, next.dropLogged = next.err != nil, next.answer.Dropped > 0
}

func age(d time.Duration) string { return d.Round(time.Second).String() }
