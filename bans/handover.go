package bans

import (
	"bytes"
	"errors"
	"net/netip"
)

// At an upgrade, the new process gets the bans in two parts: a snapshot while both processes are
// starting up and clients are still accepted, and the changes since then when accepting has paused.
// So the pause does not grow with the number of bans.

// maxRecorded bounds the changes between the two parts, in bytes.
const maxRecorded = 16 << 20

// recording are the lines of changes since a snapshot.
type recording struct {
	lines []byte
	full  bool
}

func (r *recording) add(lines []byte) {
	if r.full = r.full || len(r.lines)+len(lines) > maxRecorded; !r.full {
		r.lines = append(r.lines, lines...)
	}
}

// Snapshot returns all bans, in the form of the file, and records the changes from now on.
func (s *Store) Snapshot() []byte {
	s.mu.Lock()
	t := s.current.Load()
	s.record = new(recording)
	s.mu.Unlock()
	var out bytes.Buffer
	if t != nil {
		out.Grow(len(header) + 80*t.Size())
	}
	_, _ = s.writeTable(&out, t) // a buffer does not fail
	return out.Bytes()
}

// ErrTooManyChanges is the error of Freeze after more changes than can be handed over.
var ErrTooManyChanges = errors.New("more bans have changed during the upgrade than can be handed over: try again")

// Freeze stops writing the file, which belongs to another process now, and returns the changes
// since Snapshot. There must be none until Thaw.
func (s *Store) Freeze() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.record
	switch {
	case r == nil:
		return nil, nil
	case r.full:
		return nil, ErrTooManyChanges
	}
	s.journal.freeze(true)
	return r.lines, nil
}

// Thaw ends the recording of an upgrade that failed, and writes the file again.
func (s *Store) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = nil
	s.journal.freeze(false)
}

func (j *journal) freeze(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.frozen && !on {
		j.rewrite = j.name != "" // another process may have written it
		j.retry = false
		j.poke()
	}
	j.frozen = on
}

// TakeOver adds the bans of a snapshot.
func (s *Store) TakeOver(snapshot []byte) (Loaded, error) { return s.load(snapshot) }

// Continue makes the changes since the snapshot, and writes the file from now on; "" for none.
func (s *Store) Continue(changes []byte, file string) {
	now, wall := s.now(), s.wall().UnixMilli()
	s.mu.Lock()
	c := change(s.current.Load(), bytes.Count(changes, []byte("\n")))
	for line := range bytes.Lines(changes) {
		p, b, err := parseLine(bytes.TrimSuffix(line, []byte("\n")), now, wall)
		if err != nil {
			continue
		}
		s.apply(&c, p, b)
	}
	s.current.Store(c.result())
	s.poke()
	s.mu.Unlock()
	if file != "" {
		s.journal.use(file)
	}
}

// apply sets the ban of a prefix, or removes it if b is nil.
func (s *Store) apply(c *changer, p netip.Prefix, b *Ban) {
	if before, ok := c.table.Get(p); ok {
		s.expiries.remove(before)
		c.remove(p)
	}
	if b != nil {
		c.insert(b)
		s.expiries.add(b)
	}
}
