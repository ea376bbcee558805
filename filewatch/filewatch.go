// Package filewatch finds out that the content of files has changed.
//
// It watches directories (inotify(7)), not files: an editor that saves a file often renames a new
// one over it, and a watch on the file would stay with the old one. It follows symbolic links, and
// watches the directory of each: Kubernetes replaces a mounted ConfigMap by swapping one link.
package filewatch

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Sum is a hash of a file's content, all zeros if it cannot be read.
type Sum = [sha256.Size]byte

// File is a file with the content that is known.
type File struct {
	Name string
	Sum  Sum
}

// Watcher watches a set of files. Make one with New.
type Watcher struct {
	read    func(name string) Sum
	changed func(name string)
	log     *slog.Logger
	orders  chan order

	// These are fixed, except in tests.
	absence          time.Duration
	rescan, poll     time.Duration
	makeNotifier     func() (*fsnotify.Watcher, error)
	watchedForTest   func(dirs []string)
	settlesAtMostFor int // times settle
}

// order is a set of files to watch from now on.
type order struct {
	files  []File
	settle time.Duration
}

// New returns a Watcher of no files. read reads a file, and changed is called with the name of a
// file whose content is no longer what is known. Both are called by Run.
func New(read func(name string) Sum, changed func(name string), log *slog.Logger) *Watcher {
	return &Watcher{
		read: read, changed: changed, log: log, orders: make(chan order, 1),
		absence: 2 * time.Second, rescan: 30 * time.Second, poll: 2 * time.Second,
		makeNotifier: fsnotify.NewWatcher, settlesAtMostFor: 10,
	}
}

// Watch replaces the set of files; nil watches none. The content that is known is that of files. A
// change is reported once the files have been left alone for settle, and once for all of them.
// Calls of Watch must not overlap.
func (w *Watcher) Watch(files []File, settle time.Duration) {
	select {
	case <-w.orders: // no longer of interest
	default:
	}
	w.orders <- order{files, settle}
}

// Run watches until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	s := &session{Watcher: w, check: time.NewTimer(time.Hour), look: time.NewTimer(time.Hour)}
	s.check.Stop()
	s.look.Stop()
	defer s.check.Stop()
	defer s.look.Stop()
	defer s.close()
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-w.orders:
			s.begin(o)
		case e, ok := <-s.events():
			switch {
			case !ok:
				s.close()
				s.touch()
			case s.names[e.Name] || s.dirs[e.Name]:
				s.touch()
			}
		case err, ok := <-s.errors():
			if ok && !errors.Is(err, fsnotify.ErrEventOverflow) {
				w.log.Warn("file notifications failed, checking all watched files", "error", err.Error())
				s.close()
			}
			s.touch()
		case <-s.look.C:
			if s.stale() {
				s.touch()
			}
			s.lookAgain()
		case <-s.check.C:
			s.compare()
		}
	}
}

// session is the state of Run.
type session struct {
	*Watcher
	order
	notifier *fsnotify.Watcher // nil if nothing is watched, or notifications do not work
	dirs     map[string]bool   // that hold the files and the links to them
	names    map[string]bool   // of these files and links
	partly   bool              // some directory cannot be watched
	stats    map[string]stat   // of the files, when they were compared
	touched  time.Time         // the first event since the last comparison; zero: none
	missing  time.Time         // since when a file is missing; zero: none is
	check    *time.Timer       // ends when the files have settled
	look     *time.Timer       // ends when it is time to look without an event
}

func (s *session) events() chan fsnotify.Event {
	if s.notifier == nil {
		return nil
	}
	return s.notifier.Events
}

func (s *session) errors() chan error {
	if s.notifier == nil {
		return nil
	}
	return s.notifier.Errors
}

func (s *session) close() {
	if s.notifier != nil {
		_ = s.notifier.Close() // there is nothing to write
		s.notifier = nil
	}
}

// begin watches other files. What has changed since their content became known is found by the
// first comparison.
func (s *session) begin(o order) {
	s.order = o
	s.missing, s.touched = time.Time{}, time.Time{}
	s.stats = make(map[string]stat)
	s.check.Stop()
	s.look.Stop()
	if len(o.files) == 0 {
		s.close()
		s.partly = false
		return
	}
	s.arm()
	s.touch()
	s.lookAgain()
}

// touch notes that something may have changed.
func (s *session) touch() {
	if len(s.files) == 0 {
		return
	}
	now := time.Now()
	if s.touched.IsZero() {
		s.touched = now
	}
	latest := s.touched.Add(time.Duration(s.settlesAtMostFor) * s.settle)
	s.check.Reset(min(s.settle, latest.Sub(now)))
}

// lookAgain sets the time of the next look without an event: network file systems send none, and
// renaming a directory further up does not send any either.
func (s *session) lookAgain() {
	if s.notifier == nil || s.partly {
		s.look.Reset(s.poll)
	} else {
		s.look.Reset(s.rescan)
	}
}

// stale reports whether a file is not the one that was compared.
func (s *session) stale() bool {
	for _, f := range s.files {
		if s.stats[f.Name] != statOf(f.Name) {
			return true
		}
	}
	return false
}

// compare reads the files and reports a change. A file that is missing gets some time to come back.
func (s *session) compare() {
	s.touched = time.Time{}
	s.arm() // before reading: what changes later sends an event
	sums := make([]Sum, len(s.files))
	absent := false
	for i, f := range s.files {
		s.stats[f.Name] = statOf(f.Name)
		sums[i] = s.read(f.Name)
		absent = absent || sums[i] == Sum{} && f.Sum != Sum{}
	}
	if !absent {
		s.missing = time.Time{}
	} else if s.missing.IsZero() {
		s.missing = time.Now()
	}
	if absent && time.Since(s.missing) < s.absence {
		s.check.Reset(s.settle)
		return
	}
	name := ""
	for i := range s.files {
		if f := &s.files[i]; f.Sum != sums[i] {
			f.Sum = sums[i]
			if name == "" {
				name = f.Name
			}
		}
	}
	if name != "" {
		s.changed(name)
	}
}

// arm watches the directories that the files are in now.
func (s *session) arm() {
	s.dirs, s.names = make(map[string]bool), make(map[string]bool)
	for _, f := range s.files {
		trace(f.Name, func(dir, name string) {
			s.dirs[dir] = true
			s.names[filepath.Join(dir, name)] = true
		})
	}
	failed := s.partly
	s.partly = false
	if err := s.notify(); err != nil {
		s.partly = true
		if !failed {
			s.log.Warn("cannot watch files, checking them regularly", "every", s.poll.String(), "error", err.Error())
		}
	}
	if s.watchedForTest != nil && s.notifier != nil {
		s.watchedForTest(s.notifier.WatchList())
	}
}

// notify makes the notifier watch exactly s.dirs.
func (s *session) notify() error {
	if s.notifier == nil {
		var err error
		if s.notifier, err = s.makeNotifier(); err != nil {
			s.notifier = nil
			return err
		}
	}
	watched := make(map[string]bool)
	for _, dir := range s.notifier.WatchList() {
		watched[dir] = true
		if !s.dirs[dir] {
			_ = s.notifier.Remove(dir) // it may be gone
		}
	}
	var failed error
	for dir := range s.dirs {
		if !watched[dir] {
			failed = errors.Join(failed, s.notifier.Add(dir))
		}
	}
	return failed
}
