package bans

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"l4proxy/acl"
	"l4proxy/internal/rawsys"
)

// Options are what a Store needs. The zero value of each field is its default.
type Options struct {
	// Now is the clock of the event loops; nil means CLOCK_MONOTONIC. Wall is the wall clock; nil
	// means time.Now.
	Now  func() int64
	Wall func() time.Time
	// Ended, if set, is called with bans whose time is over: how many, and one of them.
	Ended func(n int, one *Ban)
	Log   *slog.Logger // nil means slog.Default
}

// Store holds the bans of a process. Make one with New. All methods may be called from any
// goroutine; only Find from an event loop.
type Store struct {
	now   func() int64
	wall  func() time.Time
	ended func(int, *Ban)
	log   *slog.Logger

	current atomic.Pointer[table] // nil if there is no ban
	deflt   atomic.Uint32         // acl.Action

	mu       sync.Mutex // of changes; no loop takes it
	expiries expiry
	wake     chan struct{} // an earlier ban may end next
	journal  journal
	record   *recording // not nil while another process takes over
}

// New returns an empty Store.
func New(o Options) *Store {
	s := &Store{now: o.Now, wall: o.Wall, ended: o.Ended, log: o.Log, wake: make(chan struct{}, 1)}
	if s.now == nil {
		s.now = rawsys.Monotonic
	}
	if s.wall == nil {
		s.wall = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.deflt.Store(uint32(acl.Reset))
	s.journal.init(s)
	return s
}

// SetDefault sets what a client sees if its ban has no action of its own.
func (s *Store) SetDefault(a acl.Action) { s.deflt.Store(uint32(a)) }

// Default is what SetDefault has set.
func (s *Store) Default() acl.Action { return acl.Action(s.deflt.Load()) }

// Find returns the ban of an address at a time of the loops' clock; nil if it is not banned. The
// zero Addr, of a client on a unix socket, never is.
func (s *Store) Find(addr netip.Addr, now int64) *Ban {
	t := s.current.Load()
	if t == nil || !addr.IsValid() {
		return nil
	}
	return find(t, addr, now)
}

// ActionOf is what the client of a ban sees.
func (s *Store) ActionOf(b *Ban) acl.Action {
	if b.own {
		return b.action
	}
	return s.Default()
}

// Len is the number of bans, with those that have just ended.
func (s *Store) Len() int {
	t := s.current.Load()
	if t == nil {
		return 0
	}
	return t.Size()
}

// Now is the time of the Store.
func (s *Store) Now() int64 { return s.now() }

// ErrFull is the error of a Put that would exceed Max.
var ErrFull = fmt.Errorf("more than %d bans: remove some, or ban larger prefixes", Max)

// Outcome is what a change has done.
type Outcome struct {
	// Added are new, Replaced had a ban of the same prefix before. Kept had one of another source
	// that lasts longer, and still have that.
	Added, Replaced, Kept int
	// Removed is how many bans were removed.
	Removed int

	ticket uint64 // for Saved
}

// Put sets bans: all of them, or none after an error. They are in force when it returns, and Saved
// waits until they are in the file.
func (s *Store) Put(entries []Entry) (Outcome, error) {
	for i := range entries {
		if err := entries[i].Check(); err != nil {
			return Outcome{}, &EntryError{i, err}
		}
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(entries, now)
}

// Saved waits until a change is in the file. err is why it is not, if there is a file. A change
// that takes longer than savePatience is in force, and may still be saved.
func (s *Store) Saved(out Outcome) (saved bool, err error) { return s.journal.await(out.ticket) }

// EntryError is what is wrong with one entry of Put.
type EntryError struct {
	Index int
	Err   error
}

func (e *EntryError) Error() string { return e.Err.Error() }
func (e *EntryError) Unwrap() error { return e.Err }

func (s *Store) put(entries []Entry, now int64) (out Outcome, err error) {
	old := s.current.Load()
	size := 0
	if old != nil {
		size = old.Size()
	}
	if size+len(entries) > Max { // an entry may replace one, but that is near enough
		return out, ErrFull
	}
	c := change(old, len(entries))
	var lines []byte
	for i := range entries {
		b := entries[i].ban(now)
		if before, ok := c.table.Get(b.prefix); ok {
			if !before.expired(now) && before.source != b.source && before.until > b.until {
				out.Kept++
				continue
			}
			s.expiries.remove(before)
			out.Replaced++
		} else {
			out.Added++
		}
		c.insert(b)
		s.expiries.add(b)
		lines = s.addLine(lines, b)
	}
	s.current.Store(c.result())
	s.poke()
	out.ticket = s.journal.add(lines, out.Added+out.Replaced)
	return out, nil
}

// Filter selects bans to remove.
type Filter struct {
	// Prefixes are those of the bans, exactly. None selects all.
	Prefixes []netip.Prefix
	// Source selects those of a source; nil selects all.
	Source *string
}

// Count is how many bans Remove would remove.
func (s *Store) Count(f Filter) int { return len(s.matching(f)) }

// matching are the bans that a filter selects, each once.
func (s *Store) matching(f Filter) (found []*Ban) {
	t := s.current.Load()
	if t == nil {
		return nil
	}
	matches := func(b *Ban) bool { return f.Source == nil || b.Source() == *f.Source }
	if len(f.Prefixes) == 0 {
		for _, b := range t.All() {
			if matches(b) {
				found = append(found, b)
			}
		}
		return found
	}
	seen := make(map[*Ban]bool, len(f.Prefixes))
	for _, p := range f.Prefixes {
		if b, ok := t.Get(Canonical(p)); ok && matches(b) && !seen[b] {
			seen[b] = true
			found = append(found, b)
		}
	}
	return found
}

// Remove removes bans. Prefixes that are not banned are not an error.
func (s *Store) Remove(f Filter) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.matching(f)
	return Outcome{Removed: len(gone), ticket: s.remove(gone, true)}
}

// remove takes bans out. Those that have expired need no line in the file. s.mu is held.
func (s *Store) remove(gone []*Ban, write bool) (ticket uint64) {
	if len(gone) == 0 {
		return s.journal.add(nil, 0)
	}
	c := change(s.current.Load(), len(gone))
	var lines []byte
	for _, b := range gone {
		c.remove(b.prefix)
		s.expiries.remove(b)
		if write {
			lines = s.removeLine(lines, b.prefix)
		}
	}
	s.current.Store(c.result())
	return s.journal.add(lines, len(gone))
}

// Get returns the ban of exactly this prefix.
func (s *Store) Get(p netip.Prefix) *Ban {
	t := s.current.Load()
	if t == nil {
		return nil
	}
	b, ok := t.Get(Canonical(p))
	if !ok || b.expired(s.now()) {
		return nil
	}
	return b
}

const (
	// expireSlice is the most bans that are removed at once, expirePause the least time between two
	// removals. Waiting harms nothing: Find compares the time.
	expireSlice = 1 << 16
	expirePause = time.Second
	// clockCheck is how often steps of the wall clock are looked for, and clockStep how large they
	// have to be.
	clockCheck = 10 * time.Second
	clockStep  = 2 * time.Second
)

// Run removes expired bans and writes the file until ctx is done. What was changed before is
// written when it returns.
func (s *Store) Run(ctx context.Context) {
	var writing sync.WaitGroup
	writing.Go(func() { s.journal.run(ctx) })
	defer writing.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	clock := time.NewTicker(clockCheck)
	defer clock.Stop()
	offset := s.offset()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			if now := s.offset(); (now - offset).Abs() > clockStep {
				offset = now
				s.journal.rewriteSoon() // with the times of the new clock
			}
		case <-s.wake:
			timer.Reset(s.untilNext())
		case <-timer.C:
			s.expire()
			timer.Reset(max(s.untilNext(), expirePause))
		}
	}
}

// offset is the wall clock less the clock of the loops. Only a step changes it by much.
func (s *Store) offset() time.Duration {
	return time.Duration(s.wall().UnixNano() - s.now())
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// untilNext is how long no ban ends.
func (s *Store) untilNext() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.expiries) == 0 {
		return time.Hour
	}
	return max(0, time.Duration(s.expiries[0].until-s.now()))
}

// expire removes a slice of the bans that are over.
func (s *Store) expire() {
	now := s.now()
	s.mu.Lock()
	var gone []*Ban
	for len(s.expiries) > 0 && s.expiries[0].expired(now) && len(gone) < expireSlice {
		b := s.expiries[0]
		s.expiries.remove(b)
		gone = append(gone, b)
	}
	s.remove(gone, false)
	s.mu.Unlock()
	if len(gone) > 0 && s.ended != nil {
		s.ended(len(gone), gone[0])
	}
}
