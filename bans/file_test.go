package bans

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"l4proxy/acl"
)

// start runs a Store until the returned function is called.
func start(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	waitFor(t, "the journal", func() bool {
		s.journal.mu.Lock()
		defer s.journal.mu.Unlock()
		return s.journal.running
	})
	return stop
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10s", what)
		}
	}
}

func open(t *testing.T, s *Store, name string) Loaded {
	t.Helper()
	l, err := s.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBansOutliveARestart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	clock := newTestClock()
	s := New(clock.options())
	if l := open(t, s, name); l != (Loaded{}) {
		t.Errorf("a file that does not exist: %+v", l)
	}
	stop := start(t, s)
	own := acl.Close
	out := mustPut(t, s, Entry{Prefix: prefix("192.0.2.0/24"), For: time.Hour, Reason: `"quoted" text – é`, Source: "feed", Action: &own},
		Entry{Prefix: prefix("2001:db8::/32")}, Entry{Prefix: prefix("198.51.100.1/32"), For: time.Minute})
	if saved, err := s.Saved(out); !saved || err != nil {
		t.Fatalf("not saved: %v", err)
	}
	mustPut(t, s, Entry{Prefix: prefix("203.0.113.1/32")})
	if saved, err := s.Saved(s.Remove(Filter{Prefixes: []netip.Prefix{prefix("203.0.113.1/32")}})); !saved {
		t.Fatalf("the removal is not saved: %v", err)
	}
	written, err := os.ReadFile(name) // as a kill right now would leave it
	if err != nil {
		t.Fatal(err)
	}
	stop()

	clock.pass(10 * time.Minute)
	clock.now = int64(time.Second) // the machine has booted: another monotonic clock
	for _, how := range []string{"stopped", "killed"} {
		if how == "killed" {
			if err := os.WriteFile(name, written, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		next := New(clock.options())
		if l := open(t, next, name); l.Bans != 2 || l.Damaged != 0 {
			t.Fatalf("%s: %+v", how, l)
		}
		b := next.Get(prefix("192.0.2.0/24"))
		if b == nil || b.Left(clock.now).Round(time.Second) != 50*time.Minute || b.Age(clock.now).Round(time.Second) != 10*time.Minute ||
			b.Reason() != `"quoted" text – é` || b.Source() != "feed" || !b.own || b.action != acl.Close {
			t.Errorf("%s: read back %+v", how, b)
		}
		if b := next.Get(prefix("2001:db8::/32")); b == nil || b.Left(clock.now) != 0 {
			t.Errorf("%s: a ban without an end: %+v", how, b)
		}
		if next.Get(prefix("198.51.100.1/32")) != nil || next.Get(prefix("203.0.113.1/32")) != nil {
			t.Errorf("%s: an expired or removed ban is back", how)
		}
	}
}

func TestWallClockSetBackProlongsNoBan(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	clock := newTestClock()
	s := New(clock.options())
	open(t, s, name)
	stop := start(t, s)
	mustPut(t, s, Entry{Prefix: prefix("192.0.2.0/24"), For: time.Hour})
	stop()
	clock.wall = clock.wall.AddDate(-10, 0, 0)
	next := New(clock.options())
	open(t, next, name)
	if b := next.Get(prefix("192.0.2.0/24")); b == nil || b.Left(clock.now) != time.Hour {
		t.Errorf("ten years earlier: %+v, want the hour that it was made for", b)
	}
}

func TestDamagedFileKeepsWhatCanBeRead(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	s := New(clock.options())
	mustPut(t, s, Entry{Prefix: prefix("192.0.2.1/32")}, Entry{Prefix: prefix("192.0.2.2/32")}, Entry{Prefix: prefix("192.0.2.3/32")})
	whole := s.Snapshot()
	lines := bytes.SplitAfter(whole, []byte("\n"))
	flipped := bytes.Clone(whole)
	flipped[len(lines[0])+len(lines[1])+20] ^= 1
	for _, test := range []struct {
		name  string
		text  []byte
		bans  int
		first int
	}{
		{"truncated", whole[:len(whole)-5], 2, 4},
		{"a flipped bit", flipped, 2, 3},
		{"no header", whole[5:], 3, 1},
		{"garbage in the middle", bytes.Join([][]byte{lines[0], lines[1], []byte("\x00\x00\xff\n\n"), lines[2], lines[3]}, nil), 3, 3},
		{"a huge line", append(bytes.Clone(whole), bytes.Repeat([]byte("x"), 1<<20)...), 3, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(dir, strings.ReplaceAll(test.name, " ", "-"))
			if err := os.WriteFile(name, test.text, 0o600); err != nil {
				t.Fatal(err)
			}
			next := New(clock.options())
			l := open(t, next, name)
			if l.Bans != test.bans || l.Damaged == 0 || l.FirstBad != test.first || next.Len() != test.bans {
				t.Errorf("%+v", l)
			}
			if kept, err := os.ReadFile(name + ".damaged"); err != nil || !bytes.Equal(kept, test.text) {
				t.Errorf("the damaged file is not kept: %v", err)
			}
		})
	}
}

func TestFileThatIsNotOursIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"hosts": "127.0.0.1 localhost\n::1 localhost\n", "newer": "l4proxy bans 7\nsomething\n"} {
		name := filepath.Join(dir, file)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s := New(Options{})
		if _, err := s.Open(name); err == nil {
			t.Errorf("%s: read as a file of bans", file)
		}
		stop := start(t, s)
		if saved, _ := s.Saved(mustPut(t, s, Entry{Prefix: prefix("192.0.2.1/32")})); saved || s.Len() != 1 {
			t.Errorf("%s: saved: %v", file, saved)
		}
		stop()
		if got, _ := os.ReadFile(name); string(got) != text {
			t.Errorf("%s was overwritten: %q", file, got)
		}
	}
	if _, err := New(Options{}).Open(dir); err == nil {
		t.Error("a directory was opened")
	}
}

func TestFailedWriteIsReportedAndRetried(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	name := filepath.Join(dir, "bans")
	open(t, s, name) // in a directory that does not exist
	stop := start(t, s)
	for i := range 2 {
		out := mustPut(t, s, Entry{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)})
		if saved, err := s.Saved(out); saved || err == nil || s.Len() != i+1 {
			t.Fatalf("%v, %v", saved, err)
		}
	}
	if _, err := s.File(); err == nil {
		t.Error("File reports no error")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.journal.mu.Lock()
	s.journal.retry = false // as after retryEvery
	s.journal.mu.Unlock()
	if saved, err := s.Saved(mustPut(t, s, Entry{Prefix: prefix("198.51.100.0/24")})); !saved {
		t.Fatalf("after the directory exists: %v", err)
	}
	stop()
	next := New(Options{})
	if l := open(t, next, name); l.Bans != 3 {
		t.Errorf("the file has %+v, want all 3 bans", l)
	}
	if got := strings.Count(log.String(), "bans not saved"); got != 1 || !strings.Contains(log.String(), "bans saved again") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestFileIsRewrittenWhenMostOfItIsHistory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	s := New(Options{})
	open(t, s, name)
	start(t, s)
	entries := make([]Entry, litter/4)
	for i := range entries {
		entries[i] = Entry{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)}
	}
	for range 3 {
		mustPut(t, s, entries...)
		s.Saved(s.Remove(Filter{}))
	}
	s.Saved(mustPut(t, s, entries[0]))
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(litter+len(entries)) * 100; info.Size() > most {
		t.Errorf("the file has %d bytes for one ban", info.Size())
	}
}

func TestTakeOverGetsSnapshotAndLaterChanges(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bans")
	old := New(Options{})
	open(t, old, name)
	start(t, old)
	mustPut(t, old, Entry{Prefix: prefix("192.0.2.1/32"), For: time.Hour}, Entry{Prefix: prefix("192.0.2.2/32")})
	snapshot := old.Snapshot()
	mustPut(t, old, Entry{Prefix: prefix("192.0.2.3/32")}, Entry{Prefix: prefix("192.0.2.1/32"), For: 2 * time.Hour})
	old.Remove(Filter{Prefixes: []netip.Prefix{prefix("192.0.2.2/32")}})
	changes, err := old.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	next := New(Options{})
	if l, err := next.TakeOver(snapshot); err != nil || l.Bans != 2 {
		t.Fatal(l, err)
	}
	next.Continue(changes, name)
	if next.Len() != 2 || next.Get(prefix("192.0.2.2/32")) != nil || next.Get(prefix("192.0.2.3/32")) == nil ||
		next.Get(prefix("192.0.2.1/32")).Left(next.Now()) < 119*time.Minute {
		t.Errorf("the new process has %+v", next.List(Query{Limit: 9}))
	}
	if err := old.journal.rename("a", "b"); err != errFrozen {
		t.Errorf("the old process may still replace the file: %v", err)
	}
	stop := start(t, next)
	mustPut(t, next, Entry{Prefix: prefix("192.0.2.4/32")})
	stop()
	third := New(Options{})
	if l := open(t, third, name); l.Bans != 3 {
		t.Errorf("the file has %+v", l)
	}
	// The upgrade has failed after all: the old process writes what it knows.
	old.Thaw()
	waitFor(t, "the file of the old process", func() bool {
		data, _ := os.ReadFile(name)
		s := New(Options{})
		l, _ := s.load(data)
		return l.Bans == 2
	})
}

func FuzzLoad(f *testing.F) {
	s := New(newTestClock().options())
	own := acl.Message
	mustPut(f, s, Entry{Prefix: prefix("192.0.2.0/24"), For: time.Hour, Reason: `a "b" \ é`, Source: "x", Action: &own},
		Entry{Prefix: prefix("2001:db8::/32")})
	f.Add(s.Snapshot())
	f.Add(s.removeLine([]byte(header), prefix("10.0.0.0/8")))
	f.Add([]byte("l4proxy bans 2\n"))
	f.Add([]byte("00000000 + 10.0.0.0/8 0 0 default - \"\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		clock := newTestClock()
		s := New(clock.options())
		if _, err := s.load(data); err != nil {
			return
		}
		again := New(clock.options())
		if _, err := again.load(s.Snapshot()); err != nil || again.Len() != s.Len() {
			t.Fatalf("%d bans, written and read again: %d, %v", s.Len(), again.Len(), err)
		}
	})
}
