package filewatch

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	settle  = 5 * time.Millisecond
	patient = 10 * time.Second
)

// watching is a Watcher that runs in a directory of its own.
type watching struct {
	*Watcher
	t       *testing.T
	dir     string
	reports chan report
	armed   chan []string // directories watched, each time they were looked at
	log     syncBuffer
}

// report is a call of changed, with what was in the file then.
type report struct{ name, text string }

type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func sum(name string) Sum {
	data, err := os.ReadFile(name)
	if err != nil {
		return Sum{}
	}
	return sha256.Sum256(data)
}

func watch(t *testing.T, edit ...func(*Watcher)) *watching {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &watching{t: t, dir: dir, reports: make(chan report, 100), armed: make(chan []string, 1000)}
	w.Watcher = New(sum, func(name string) {
		text, _ := os.ReadFile(name) // it may be missing
		w.reports <- report{name, string(text)}
	}, slog.New(slog.NewTextHandler(&w.log, nil)))
	w.rescan, w.poll = time.Hour, time.Hour
	w.watchedForTest = func(dirs []string) { w.armed <- dirs }
	for _, e := range edit {
		e(w.Watcher)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

func (w *watching) path(name string) string { return filepath.Join(w.dir, name) }

func (w *watching) write(name, text string) {
	w.t.Helper()
	w.do(os.WriteFile(w.path(name), []byte(text), 0o644))
}

func (w *watching) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// begin watches files as they are, and returns when that is in effect.
func (w *watching) begin(names ...string) {
	w.t.Helper()
	var files []File
	for _, name := range names {
		files = append(files, File{w.path(name), sum(w.path(name))})
	}
	w.Watch(files, settle)
	w.settled()
	w.settled()
}

// settled waits until the files were looked at.
func (w *watching) settled() []string {
	w.t.Helper()
	select {
	case dirs := <-w.armed:
		return dirs
	case <-time.After(patient):
		w.t.Fatal("it does not look at the files")
		return nil
	}
}

// reported waits for one report, of this file, and returns what was in it.
func (w *watching) reported(name string) (text string) {
	w.t.Helper()
	select {
	case got := <-w.reports:
		if got.name != w.path(name) {
			w.t.Errorf("report of %s, want %s", got.name, w.path(name))
		}
		return got.text
	case <-time.After(patient):
		w.t.Fatalf("no report of %s\n%s", name, w.log.String())
		return ""
	}
}

// once waits for a report of this file, and makes sure that it was the only one: the next is that
// of another change.
func (w *watching) once(name string) {
	w.t.Helper()
	before := w.reported(name)
	next := "after " + before
	w.write(name, next)
	for text := ""; text != next; { // the writing may be seen half done
		if text = w.reported(name); text == before {
			w.t.Errorf("a second report of %q", before)
		}
	}
}

func TestChangeIsReported(t *testing.T) {
	for name, change := range map[string]func(w *watching){
		"written in place": func(w *watching) { w.write("config.yaml", "new") },
		"renamed over": func(w *watching) {
			w.write("config.yaml.tmp", "new")
			w.do(os.Rename(w.path("config.yaml.tmp"), w.path("config.yaml")))
		},
		"removed and written again": func(w *watching) {
			w.do(os.Remove(w.path("config.yaml")))
			w.write("config.yaml", "new")
		},
		"moved away and written again": func(w *watching) { // as vim does
			w.do(os.Rename(w.path("config.yaml"), w.path("config.yaml~")))
			w.write("config.yaml", "new")
			w.do(os.Remove(w.path("config.yaml~")))
		},
		"truncated and written in parts": func(w *watching) {
			f, err := os.Create(w.path("config.yaml"))
			w.do(err)
			for range 5 {
				_, err := f.WriteString("part\n")
				w.do(err)
			}
			w.do(f.Close())
		},
		"replaced by a link": func(w *watching) {
			w.write("other", "new")
			w.do(os.Symlink("other", w.path("link")))
			w.do(os.Rename(w.path("link"), w.path("config.yaml")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			w.write("config.yaml", "old")
			w.begin("config.yaml")
			change(w)
			w.once("config.yaml")
		})
	}
}

// Neither another file nor a file that is written again with the same content is a change.
func TestOnlyContentCounts(t *testing.T) {
	w := watch(t)
	w.write("config.yaml", "old")
	w.begin("config.yaml")
	for range 20 {
		w.write("other", "new")
	}
	w.write("config.yaml", "old")
	w.do(os.Chtimes(w.path("config.yaml"), time.Now(), time.Now()))
	w.settled()
	w.write("config.yaml", "new")
	w.once("config.yaml")
}

// A Kubernetes volume: the file is a link through ..data, which is a link to a directory that is
// replaced. The old directory is removed.
func TestSwappedDirectoryIsFollowed(t *testing.T) {
	w := watch(t)
	version := func(name, text string) {
		w.do(os.Mkdir(w.path(name), 0o755))
		w.write(name+"/config.yaml", text)
		w.do(os.Symlink(name, w.path("..data_tmp")))
		w.do(os.Rename(w.path("..data_tmp"), w.path("..data")))
	}
	version("..1", "old")
	w.do(os.Symlink("..data/config.yaml", w.path("config.yaml")))
	w.begin("config.yaml")
	for _, next := range []struct{ name, before string }{{"..2", "..1"}, {"..3", "..2"}, {"..4", "..3"}} {
		version(next.name, next.name)
		w.do(os.RemoveAll(w.path(next.before)))
		w.reported("config.yaml")
	}
	w.write("..4/config.yaml", "in place")
	w.reported("config.yaml")
	for len(w.armed) > 0 {
		<-w.armed
	}
	w.write("..4/config.yaml", "again")
	dirs := w.settled()
	slices.Sort(dirs)
	if diff := cmp.Diff([]string{w.dir, w.path("..4")}, dirs); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

// The whole directory may be moved away and replaced, or missing for a moment.
func TestReplacedDirectoryIsFollowed(t *testing.T) {
	w := watch(t, func(w *Watcher) { w.rescan = 20 * time.Millisecond })
	w.do(os.MkdirAll(w.path("conf"), 0o755))
	w.write("conf/config.yaml", "old")
	w.begin("conf/config.yaml")
	w.do(os.Rename(w.path("conf"), w.path("conf.old")))
	w.do(os.MkdirAll(w.path("conf"), 0o755))
	w.write("conf/config.yaml", "new")
	w.once("conf/config.yaml")
}

// A file that is missing for a moment is no change. If it stays away, that is one.
func TestMissingFile(t *testing.T) {
	w := watch(t, func(w *Watcher) { w.absence = 50 * time.Millisecond })
	w.write("config.yaml", "old")
	w.begin("config.yaml")
	w.do(os.Remove(w.path("config.yaml")))
	w.settled()
	w.write("config.yaml", "old")
	w.settled()
	w.do(os.Remove(w.path("config.yaml")))
	w.once("config.yaml")
	w.write("config.yaml", "last")
	w.reported("config.yaml")
}

// A file that does not exist yet is watched, even in a directory that does not exist yet.
func TestFileThatComes(t *testing.T) {
	w := watch(t)
	w.begin("conf/config.yaml")
	w.do(os.MkdirAll(w.path("conf"), 0o755))
	w.write("conf/config.yaml", "new")
	w.once("conf/config.yaml")
}

// Several files that change together are one change, and those of another set are watched instead.
func TestSetsOfFiles(t *testing.T) {
	w := watch(t)
	for _, name := range []string{"config.yaml", "a.txt", "b.txt"} {
		w.write(name, "old")
	}
	w.begin("config.yaml", "a.txt")
	w.Watch([]File{{w.path("config.yaml"), sum(w.path("config.yaml"))}, {w.path("a.txt"), sum(w.path("a.txt"))}}, 200*time.Millisecond)
	w.settled()
	w.write("a.txt", "new")
	w.write("config.yaml", "new")
	w.reported("config.yaml")
	w.begin("config.yaml", "b.txt")
	w.write("a.txt", "newer")
	w.write("b.txt", "new")
	w.once("b.txt")
	w.Watch(nil, settle)
	w.write("b.txt", "newest")
	w.begin("config.yaml")
	w.write("config.yaml", "newest")
	w.once("config.yaml")
}

// What has changed between reading the files and watching them is found.
func TestChangeBeforeWatching(t *testing.T) {
	w := watch(t)
	w.write("config.yaml", "old")
	files := []File{{w.path("config.yaml"), sum(w.path("config.yaml"))}}
	w.write("config.yaml", "new")
	w.Watch(files, settle)
	w.once("config.yaml")
}

// Files that are written all the time are read anyway, now and then.
func TestBusyFile(t *testing.T) {
	w := watch(t)
	w.write("config.yaml", "old")
	w.begin("config.yaml")
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(settle / 5):
				w.write("config.yaml", time.Now().String())
			}
		}
	})
	w.reported("config.yaml")
	close(stop)
	writer.Wait()
}

// Without notifications, the files are looked at regularly.
func TestNoNotifications(t *testing.T) {
	w := watch(t, func(w *Watcher) {
		w.poll = 10 * time.Millisecond
		w.makeNotifier = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	})
	w.write("config.yaml", "old")
	w.Watch([]File{{w.path("config.yaml"), sum(w.path("config.yaml"))}}, settle)
	w.write("config.yaml", "new")
	w.once("config.yaml")
	if n := strings.Count(w.log.String(), "cannot watch files"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, w.log.String())
	}
}

// An overflow of the queue makes it look at all files.
func TestOverflow(t *testing.T) {
	notifiers := make(chan *fsnotify.Watcher, 10)
	w := watch(t, func(w *Watcher) {
		w.makeNotifier = func() (*fsnotify.Watcher, error) {
			n, err := fsnotify.NewWatcher()
			notifiers <- n
			return n, err
		}
	})
	w.write("config.yaml", "old")
	w.begin("config.yaml")
	n := <-notifiers
	n.Errors <- fsnotify.ErrEventOverflow
	w.settled()
	n.Errors <- errors.New("broken") // it makes another one
	w.settled()
	<-notifiers
	w.write("config.yaml", "new")
	w.once("config.yaml")
}

func TestTrace(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, do := range []error{
		os.MkdirAll("a/b", 0o755), os.Symlink("a", "link"), os.Symlink("../c", "a/up"), os.WriteFile("c", nil, 0o644),
		os.Symlink("loop", "loop"), os.Symlink(dir+"/a", "absolute"),
	} {
		if do != nil {
			t.Fatal(do)
		}
	}
	for path, want := range map[string][]string{
		"c":                {"/c"},
		"./a/../c":         {"/c"},
		"link/up":          {"/link", "/a/up", "/c"},
		"absolute/b":       {"/absolute", "/a/b"},
		"missing/file":     {"/missing"},
		"a/missing":        {"/a/missing"},
		dir + "/link/b":    {"/link", "/a/b"},
		"a/b/../../link/b": {"/link", "/a/b"},
	} {
		var got []string
		trace(path, func(d, name string) { got = append(got, strings.TrimPrefix(filepath.Join(d, name), dir)) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("trace of %s (-want +got):\n%s", path, diff)
		}
	}
	visits := 0
	trace("loop", func(string, string) { visits++ })
	if visits > maxLinks+1 {
		t.Errorf("%d visits of a loop", visits)
	}
}
