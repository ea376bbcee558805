package bans

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
)

// maxFile bounds the size of a file that is read, in bytes.
const maxFile = 1 << 30

// Loaded is what was found in a file.
type Loaded struct {
	// Bans are in force now, Expired were over. Damaged is how many lines could not be read, the
	// first of which is line FirstBad.
	Bans, Expired, Damaged, FirstBad int
	// Full says that the file has more than Max bans, and the rest was left out.
	Full bool
}

// Open reads the bans of a file, and writes changes to it from now on, once Run runs. A file that
// does not exist yet is empty. Bans that the Store has already, of the same prefixes, stay. Lines
// that are damaged are left out; the file as it was is kept as name.damaged then. After an error
// the file is left alone, and bans are only in memory: it may be another program's, or hold bans
// that only this process cannot read.
func (s *Store) Open(name string) (loaded Loaded, err error) {
	data, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return loaded, err
	default:
		if loaded, err = s.load(data); err != nil {
			return loaded, err
		}
		if loaded.Damaged > 0 {
			if err := os.WriteFile(name+".damaged", data, 0o600); err != nil {
				return loaded, fmt.Errorf("%s has damaged lines, and cannot be copied: %w", name, err)
			}
		}
	}
	s.journal.use(name)
	return loaded, nil
}

// Close stops writing to a file. What it holds stays.
func (s *Store) Close() { s.journal.use("") }

// File is the file that changes are written to; "" without one. err is why the last change is not
// in it.
func (s *Store) File() (name string, err error) {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.name, s.journal.err
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a FIFO would wait
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// load adds the bans of a text in the form of the file.
func (s *Store) load(data []byte) (Loaded, error) {
	rest, ok := bytes.CutPrefix(data, []byte(header))
	var l Loaded
	number := 2
	switch {
	case ok:
	case len(data) == 0:
		return l, nil
	case bytes.HasPrefix(data, []byte("l4proxy bans ")) && bytes.IndexByte(data, '\n') >= 0:
		first, _, _ := bytes.Cut(data, []byte("\n"))
		return l, fmt.Errorf("%q is the format of a newer l4proxy", first[:min(len(first), 40)])
	default: // the beginning is damaged; each line has a checksum of its own
		rest, number = data, 1
	}
	now, wall := s.now(), s.wall().UnixMilli()
	found := make(map[netip.Prefix]*Ban, bytes.Count(rest, []byte("\n")))
	for ; len(rest) > 0; number++ {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		rest = after
		p, b, err := parseLine(line, now, wall)
		switch {
		case err != nil || !whole:
			if l.Damaged++; l.Damaged == 1 {
				l.FirstBad = number
			}
		case b != nil && (found[p] != nil || len(found) < Max):
			found[p] = b
		case b != nil:
			l.Full = true
		default:
			delete(found, p)
			if line[9] == '+' {
				l.Expired++
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := change(s.current.Load(), len(found))
	for p, b := range found {
		if _, known := c.table.Get(p); known || c.table.Size() >= Max {
			continue
		}
		c.insert(b)
		s.expiries.add(b)
		l.Bans++
	}
	s.current.Store(c.result())
	s.poke()
	if !ok && l.Bans == 0 && l.Damaged > 0 {
		return l, errors.New("it is not a file of bans")
	}
	return l, nil
}
