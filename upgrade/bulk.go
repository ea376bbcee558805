package upgrade

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Bulk is live state that would be too large for one message, or too slow to read while accepting
// has paused, such as a million bans. It is sent right after hello, while the old process still
// serves. What changes after that has to be part of the State.
type Bulk map[string][]byte

const (
	// kindBulk is a piece of one entry: its name is in the JSON. The entries come in the order of
	// hello, and the pieces of each in theirs. A process that does not know it ignores it.
	kindBulk = optional | 2
	// bulkPiece is the most bytes of a piece, and bulkMost what a receiver accepts of an entry.
	bulkPiece = 16 << 20
	bulkMost  = 1 << 30
	// bulkPatience is how long one piece may take.
	bulkPatience = 10 * time.Second
)

// bulkEntry announces an entry in hello.
type bulkEntry struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// entries are what hello says.
func (b Bulk) entries() (all []bulkEntry) {
	for _, name := range slices.Sorted(maps.Keys(b)) {
		all = append(all, bulkEntry{name, len(b[name])})
	}
	return all
}

// sendBulk sends the entries.
func (u *old) sendBulk() error {
	for _, e := range u.Bulk.entries() {
		for rest := u.Bulk[e.Name]; len(rest) > 0; {
			n := min(len(rest), bulkPiece)
			u.step(bulkPatience)
			if err := u.send(kindBulk, bulkEntry{e.Name, n}, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return nil
}

// receiveBulk receives what the old process has announced.
func (s *Session) receiveBulk() error {
	s.bulk = make(Bulk)
	for _, e := range s.old.Bulk {
		if e.Size < 0 || e.Size > bulkMost {
			return fmt.Errorf("upgrade: the old process announces %d bytes of %s, more than %d", e.Size, e.Name, bulkMost)
		}
		var data []byte
		for len(data) < e.Size {
			s.until(time.Now().Add(bulkPatience))
			f, err := s.next()
			if err != nil {
				return fmt.Errorf("upgrade: %s of the old process: %w", e.Name, err)
			}
			closeAll(f.fds)
			switch {
			case f.kind != kindBulk && f.kind&optional != 0:
			case f.kind != kindBulk || len(f.raw) == 0 || len(f.raw) > e.Size-len(data):
				return fmt.Errorf("upgrade: received %v instead of the rest of %s", f.kind, e.Name)
			default:
				data = append(data, f.raw...)
			}
		}
		s.bulk[e.Name] = data
	}
	return nil
}

// Bulk returns an entry of the old process, once; nil if it has sent none of this name.
func (s *Session) Bulk(name string) []byte {
	data := s.bulk[name]
	delete(s.bulk, name)
	return data
}
