package bans

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// savePatience is how long a change waits for its line to be written.
	savePatience = 5 * time.Second
	// retryEvery is the time between two tries to write the file.
	retryEvery = 10 * time.Second
	// litter is how many lines beyond twice the number of bans the file may have before it is
	// rewritten.
	litter = 10_000
)

// journal writes the changes of a Store to its file, on one goroutine: many changes that come at
// once share one fdatasync(2).
type journal struct {
	store *Store
	wake  chan struct{}

	mu      sync.Mutex
	name    string // "" without a file
	pending []byte // lines of changes that are not written yet
	changes int    // their number
	added   uint64 // tickets given out
	written uint64 // the last ticket whose change was tried to be written
	saved   chan struct{}
	err     error // of the last try
	rewrite bool  // the file has to be written as a whole
	retry   bool  // an attempt failed, and the time for the next has not come
	frozen  bool  // another process writes the file now
	running bool

	// These belong to the goroutine of run.
	file  *os.File
	lines int // in the file
}

func (j *journal) init(s *Store) {
	j.store, j.wake, j.saved = s, make(chan struct{}, 1), make(chan struct{})
}

// add queues lines, and returns the ticket to wait for. The lock of the Store is held, so that
// lines come in the order of the changes.
func (j *journal) add(lines []byte, changes int) (ticket uint64) {
	if r := j.store.record; r != nil {
		r.add(lines)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.name != "" {
		if !j.rewrite { // which has all changes in it
			j.pending = append(j.pending, lines...)
		}
		j.changes += changes
		j.added++
		j.poke()
	}
	return j.added
}

func (j *journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// await waits until a change is in the file.
func (j *journal) await(ticket uint64) (saved bool, err error) {
	var late *time.Timer
	for {
		j.mu.Lock()
		name, written, err, next := j.name, j.written, j.err, j.saved
		running, retry := j.running, j.retry
		j.mu.Unlock()
		switch {
		case name == "":
			return false, nil
		case written >= ticket:
			return err == nil, err
		case retry: // it failed, and is tried again later
			return false, err
		case !running:
			return false, errors.New("the file is not being written at the moment")
		}
		if late == nil {
			late = time.NewTimer(savePatience)
			defer late.Stop()
		}
		select {
		case <-next:
		case <-late.C:
			return false, fmt.Errorf("%s: not written within %s", name, savePatience)
		}
	}
}

// rewriteSoon has the file written as a whole.
func (j *journal) rewriteSoon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rewrite = j.name != ""
	j.poke()
}

// use names the file from now on; "" for none. What it holds is replaced.
func (j *journal) use(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.name, j.err = name, nil
	j.pending = nil
	j.rewrite = name != ""
	j.poke()
}

// run writes until ctx is done, and then what is left.
func (j *journal) run(ctx context.Context) {
	j.setRunning(true)
	defer j.setRunning(false)
	defer func() { j.closeFile() }()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-j.wake:
		case <-retry.C:
			j.mu.Lock()
			j.retry = false
			j.mu.Unlock()
		case <-ctx.Done():
			j.mu.Lock()
			j.retry = false
			j.mu.Unlock()
			_ = j.flush() // it has logged why
			return
		}
		if j.flush() != nil {
			retry.Reset(retryEvery)
		}
	}
}

func (j *journal) setRunning(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running = on
	close(j.saved)
	j.saved = make(chan struct{})
}

func (j *journal) closeFile() {
	if j.file != nil {
		_ = j.file.Close() // it has been synced
		j.file = nil
	}
}

// flush writes what is pending. The error is logged when it first occurs.
func (j *journal) flush() error {
	// In this order, so that a rewrite has all changes whose tickets it answers.
	j.store.mu.Lock()
	j.mu.Lock()
	t := j.store.current.Load()
	name, lines, ticket := j.name, j.pending, j.added
	if j.frozen || name == "" || j.retry || (len(lines) == 0 && !j.rewrite && j.written == ticket) {
		if name == "" && !j.frozen {
			defer j.closeFile()
		}
		defer j.mu.Unlock()
		defer j.store.mu.Unlock()
		return nil
	}
	before := j.err
	size := 0
	if t != nil {
		size = t.Size()
	}
	whole := j.rewrite || j.file == nil || j.lines+j.changes > 2*size+litter
	j.lines += j.changes
	j.pending, j.changes, j.rewrite = nil, 0, false
	j.mu.Unlock()
	j.store.mu.Unlock()

	var err error
	if whole {
		err = j.writeAll(name, t)
	} else if _, err = j.file.Write(lines); err == nil {
		err = j.file.Sync()
	}
	j.mu.Lock()
	if errors.Is(err, errFrozen) { // after a failed upgrade, Thaw has it written again
		err = before
		j.rewrite = true
	} else if err != nil {
		j.retry = true
	}
	j.err = err
	j.written = ticket
	if err != nil { // the file may end in half a line, or be behind
		j.rewrite = true
		j.pending = nil
	}
	close(j.saved)
	j.saved = make(chan struct{})
	j.mu.Unlock()
	switch {
	case err != nil && before == nil:
		j.store.log.Error("bans not saved: they stay in force, and are lost with a restart", "file", name, "error", err.Error(),
			"retry", retryEvery.String())
	case err == nil && before != nil:
		j.store.log.Info("bans saved again", "file", name)
	}
	return err
}

// errFrozen is why a file is not replaced any more.
var errFrozen = errors.New("another process writes the file now")

// writeAll replaces the file, or leaves the old one as it is.
func (j *journal) writeAll(name string, t *table) (err error) {
	temporary := name + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(temporary)
		}
	}()
	lines, err := j.store.writeTable(f, t)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	if err := j.rename(temporary, name); err != nil {
		return err
	}
	j.closeFile()
	j.file, j.lines = f, lines
	// Without this, a crash of the machine could bring the old file back (fsync(2)).
	if dir, err := os.Open(filepath.Dir(name)); err == nil {
		_ = dir.Sync() // not all file systems can
		_ = dir.Close()
	}
	return nil
}

// rename puts the new file in place, unless another process has taken over since.
func (j *journal) rename(from, to string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.frozen {
		return errFrozen
	}
	return os.Rename(from, to)
}

// writeTable writes a table in the form of the file.
func (s *Store) writeTable(to interface{ Write([]byte) (int, error) }, t *table) (lines int, err error) {
	out := bufio.NewWriterSize(to, 256<<10)
	_, _ = out.WriteString(header) // bufio keeps its first error
	if t != nil {
		now, wall := s.now(), s.wall().UnixMilli()
		var line []byte
		for _, b := range t.All() {
			if b.expired(now) {
				continue
			}
			line = appendAdd(line[:0], b, now, wall)
			if _, err := out.Write(line); err != nil {
				return lines, err
			}
			lines++
		}
	}
	return lines, out.Flush()
}
