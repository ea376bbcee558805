package discovery

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server answers the look-ups of a Directory, in the time of a synctest bubble.
type server struct {
	mu      sync.Mutex
	answer  Answer
	err     error
	asked   []time.Duration // since the start
	started time.Time
}

func (s *server) lookup(context.Context, Name) (Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, time.Since(s.started))
	return s.answer.tidy(), s.err
}

func (s *server) gives(a Answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.err = a, err
}

// questions are the times of the look-ups since the last call.
func (s *server) questions() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func answer(ttl time.Duration, addresses ...string) Answer {
	return Answer{Endpoints: ips(addresses...), TTL: ttl}
}

var db = Name{Host: "db.test"}

// followed runs a test with a source of a name that has been resolved at the start. got returns
// what the source has given since the last call.
func followed(t *testing.T, first Answer, bounds Bounds, test func(t *testing.T, s *server, d *Directory, got func() []Endpoints, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: first, started: time.Now()}
		d := NewDirectory(s.lookup)
		if _, err := d.Lookup(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		d.Retain(map[Name]bool{db: true})
		s.questions()
		var log bytes.Buffer
		d.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
		var mu sync.Mutex
		var given []Endpoints
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := d.Follow(db, bounds).Run(ctx, func(e Endpoints) {
				mu.Lock()
				defer mu.Unlock()
				given = append(given, e)
			}); !errors.Is(err, context.Canceled) {
				t.Errorf("Run returns %v", err)
			}
		})
		got := func() []Endpoints {
			mu.Lock()
			defer mu.Unlock()
			list := given
			given = nil
			return list
		}
		synctest.Wait()
		if known := got(); len(known) != 1 || known[0].Generation != 1 {
			t.Errorf("given %+v at once, want the answer of the start", known)
		}
		test(t, s, d, got, &log)
		cancel()
		running.Wait()
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var usual = Bounds{Min: 5 * time.Second, Max: 5 * time.Minute}

// A name is looked up again when its TTL has passed, within the bounds, and at most a tenth sooner.
func TestTTLWithinBounds(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, time.Second: 5 * time.Second, time.Minute: time.Minute, 24 * time.Hour: 5 * time.Minute, maxTTL * time.Second: 5 * time.Minute,
	} {
		followed(t, answer(ttl, "10.0.0.1"), usual, func(t *testing.T, s *server, _ *Directory, got func() []Endpoints, _ *bytes.Buffer) {
			pass(20 * want)
			asked := s.questions()
			last := time.Duration(0)
			waits := make(map[time.Duration]bool)
			for _, at := range asked {
				if wait := at - last; wait > want || wait < want*9/10 {
					t.Errorf("TTL %v: asked %v after the last time, want about %v", ttl, wait, want)
				}
				waits[at-last] = true
				last = at
			}
			if len(asked) < 20 || len(waits) < 2 {
				t.Errorf("TTL %v: asked at %v", ttl, asked)
			}
			generation := uint64(1)
			for _, e := range got() {
				if e.Generation <= generation || len(e.List) != 1 {
					t.Errorf("given %+v after generation %d", e, generation)
				}
				generation = e.Generation
			}
		})
	}
}

// While look-ups fail, the last answer stays, the waits grow, and the log has one line.
func TestFailuresKeepTheLastAnswer(t *testing.T) {
	followed(t, answer(10*time.Second, "10.0.0.1", "10.0.0.2"), usual, func(t *testing.T, s *server, d *Directory, got func() []Endpoints, log *bytes.Buffer) {
		s.gives(Answer{}, errors.New("SERVFAIL"))
		pass(10 * time.Minute)
		asked := s.questions()
		var waits []time.Duration
		for i := 1; i < len(asked); i++ {
			waits = append(waits, asked[i]-asked[i-1])
		}
		for i, want := range []time.Duration{5, 10, 20, 30, 30} {
			if want *= time.Second; waits[i] > want || waits[i] < want*9/10 {
				t.Errorf("waits %v, want about 5s, 10s, 20s, 30s and so on", waits[:5])
				break
			}
		}
		if g := got(); len(g) != 0 {
			t.Errorf("given %v", g)
		}
		if list, err := d.Lookup(t.Context(), db); err != nil || !slices.Equal(list, ips("10.0.0.1", "10.0.0.2")) {
			t.Errorf("a reload gets %v, %v", list, err)
		}
		st := d.Status(db)
		if st.Error != "SERVFAIL" || len(st.Addresses) != 2 || time.Since(st.FailingSince) < 9*time.Minute || st.TTL != 10 {
			t.Errorf("status %+v", st)
		}
		failed := uint64(len(asked))
		if c := d.Counts(); c.Failed != failed || c.Lookups < failed || c.Failing != 1 {
			t.Errorf("%d look-ups failed, counted %+v", failed, c)
		}
		s.gives(answer(time.Minute, "10.0.0.3"), nil)
		pass(30 * time.Second)
		if g := got(); len(g) != 1 || !slices.Equal(g[0].List, ips("10.0.0.3")) {
			t.Errorf("given %v", g)
		}
		if c := d.Counts(); c.Failed < failed || c.Lookups <= c.Failed || c.Failing != 0 {
			t.Errorf("counted %+v", c)
		}
		if st := d.Status(db); st.Error != "" || !st.FailingSince.IsZero() || !slices.Equal(st.Addresses, []string{"10.0.0.3"}) {
			t.Errorf("status %+v", st)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="cannot resolve the name, keeping its last addresses" name=db.test error=SERVFAIL addresses=2 age=`) ||
			!strings.Contains(lines[1], `level=INFO msg="name resolves again" name=db.test addresses=1 failing=`) {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A server that answers half of the questions does not remove the other half.
func TestHalfAnAnswerKeepsTheOtherHalf(t *testing.T) {
	followed(t, answer(5*time.Second, "10.0.0.1", "2001:db8::1"), usual, func(t *testing.T, s *server, d *Directory, got func() []Endpoints, _ *bytes.Buffer) {
		half := answer(5*time.Second, "10.0.0.2")
		half.Failed, half.Err = []Part{{IPv6: true}}, errors.New("SERVFAIL")
		s.gives(half, nil)
		pass(5 * time.Second)
		if g := got(); len(g) != 1 || !slices.Equal(g[0].List, ips("10.0.0.2", "2001:db8::1")) {
			t.Errorf("given %v", g)
		}
		if st := d.Status(db); st.Error != "SERVFAIL" {
			t.Errorf("status %+v", st)
		}
	})
}

// A flood of different answers is bounded by Min.
func TestFlood(t *testing.T) {
	followed(t, answer(0, "10.0.0.1"), usual, func(t *testing.T, s *server, _ *Directory, got func() []Endpoints, _ *bytes.Buffer) {
		pass(time.Minute)
		if n := len(got()); n > 14 {
			t.Errorf("%d answers in a minute, want at most one per 4.5s", n)
		}
		if n := len(s.questions()); n > 14 {
			t.Errorf("%d questions", n)
		}
	})
}

// A Source that is started again, as by a reload, does not start its wait again.
func TestRestartedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: answer(time.Minute, "10.0.0.1"), started: time.Now()}
		d := NewDirectory(s.lookup)
		if _, err := d.Lookup(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		for range 10 { // every 20s
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = d.Follow(db, usual).Run(ctx, func(Endpoints) {}) })
			pass(20 * time.Second)
			cancel()
			running.Wait()
		}
		if n := len(s.questions()); n < 3 || n > 5 {
			t.Errorf("asked %d times in 200s, want about once a minute", n)
		}
	})
}

// A name that is no longer in any configuration is forgotten, and asked for when it is back.
func TestRetain(t *testing.T) {
	s := &server{answer: answer(time.Minute, "10.0.0.1"), started: time.Now()}
	d := NewDirectory(s.lookup)
	for _, test := range []struct {
		retain map[Name]bool
		asked  int
	}{{nil, 1}, {map[Name]bool{db: true}, 0}, {map[Name]bool{}, 1}} {
		if test.retain != nil {
			d.Retain(test.retain)
		}
		if _, err := d.Lookup(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if n := len(s.questions()); n != test.asked {
			t.Errorf("%v: asked %d times, want %d", test.retain, n, test.asked)
		}
	}
	s.gives(Answer{}, errNoName)
	if _, err := d.Lookup(t.Context(), Name{Host: "other.test"}); !errors.Is(err, errNoName) {
		t.Errorf("a name without any answer: %v", err)
	}
	if st := d.Status(Name{Host: "other.test"}); st.Error != "no such host" || !st.Resolved.IsZero() {
		t.Errorf("status %+v", st)
	}
}

// What is known of a name that is not in use was found by a reload that came to nothing: the next
// one asks again. A name in use needs no answer.
func TestLookupAsksForNamesNotInUse(t *testing.T) {
	s := &server{answer: answer(time.Hour, "10.0.0.1"), started: time.Now()}
	d := NewDirectory(s.lookup)
	finds := func(want string) {
		t.Helper()
		found, err := d.Lookup(t.Context(), db)
		if err != nil || len(found) != 1 || found[0].String() != want {
			t.Errorf("found %v, %v, want %s", found, err, want)
		}
	}
	finds("10.0.0.1")
	s.gives(answer(time.Hour, "10.0.0.2"), nil)
	finds("10.0.0.2")
	d.Retain(map[Name]bool{db: true})
	s.gives(answer(time.Hour, "10.0.0.3"), nil)
	finds("10.0.0.2")
	d.Retain(nil)
	s.gives(Answer{}, errors.New("SERVFAIL"))
	if found, err := d.Lookup(t.Context(), db); err == nil {
		t.Errorf("found %v for a name that was forgotten", found)
	}
}
