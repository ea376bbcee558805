package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

// fakeEvents are events that a test publishes.
type fakeEvents struct {
	mu      sync.Mutex
	list    []admin.Event
	changed chan struct{} // closed and replaced when the list grows
}

func newFakeEvents() *fakeEvents { return &fakeEvents{changed: make(chan struct{})} }

func (f *fakeEvents) publish(all ...admin.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range all {
		e.ID = uint64(len(f.list) + 1)
		f.list = append(f.list, e)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeEvents) after(after uint64) ([]admin.Event, chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list[min(after, uint64(len(f.list))):], f.changed
}

func (f *fakeEvents) Recent(after uint64) []admin.Event {
	list, _ := f.after(after)
	return list
}

func (f *fakeEvents) Follow(ctx context.Context, after uint64, stats bool, send func(admin.StreamMessage) error) error {
	if stats {
		for _, m := range []admin.StreamMessage{{History: []admin.Stats{{Connections: 1}}}, {Gap: &admin.Gap{Missed: 3}}, {Stats: &admin.Stats{Connections: 2}}} {
			if err := send(m); err != nil {
				return err
			}
		}
	}
	for {
		list, changed := f.after(after)
		for i := range list {
			if err := send(admin.StreamMessage{Event: &list[i]}); err != nil {
				return err
			}
			after = list[i].ID
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// withEvents gives a Server events.
func withEvents(f *fakeEvents) func(*admin.Options) {
	return func(o *admin.Options) { o.Events = f }
}

var three = []admin.Event{
	{Level: "info", Type: "reloaded", Message: "reloaded"},
	{Level: "warn", Type: "backend_down", Message: "backend down", Pool: "pg", Details: map[string]any{"error": "a\nb"}},
	{Level: "error", Type: "pool_down", Message: "pool down"},
}

// The list has the events that are asked for, and says where to continue.
func TestListOfEvents(t *testing.T) {
	events := newFakeEvents()
	s := serve(t, "unix", withEvents(events))
	c := s.client("")
	empty, err := c.Events(t.Context(), admin.EventQuery{})
	if err != nil || empty.Events == nil || empty.Last != 0 {
		t.Fatalf("%+v, %v", empty, err)
	}
	events.publish(three...)
	for _, q := range []struct {
		query admin.EventQuery
		want  string
	}{
		{admin.EventQuery{}, "1 2 3, last 3"},
		{admin.EventQuery{After: 2}, "3, last 3"},
		{admin.EventQuery{After: 3}, ", last 3"},
		{admin.EventQuery{Limit: 1}, "3, last 3"},
		{admin.EventQuery{Level: "warn"}, "2 3, last 3"},
		{admin.EventQuery{Type: "reloaded,pool_down"}, "1 3, last 3"},
		{admin.EventQuery{Type: "nothing"}, ", last 3"},
	} {
		answer, err := c.Events(t.Context(), q.query)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range answer.Events {
			ids = append(ids, fmt.Sprint(e.ID))
		}
		if got := fmt.Sprintf("%s, last %d", strings.Join(ids, " "), answer.Last); got != q.want {
			t.Errorf("%+v: %s, want %s", q.query, got, q.want)
		}
	}
	for query, want := range map[string]string{
		"?level=debug":          "write info, warn, error",
		"?limit=1001":           "write a number from 1 to 1000",
		"?limit=-1":             "write a number from 1 to 1000",
		"?after=x":              `expected a whole number for \"after\", got a string`,
		"?after=-1":             `expected a whole number`,
		"?stats=true":           "Accept: text/event-stream",
		"?stat=true":            "unknown key",
		"?type=a&type=b":        "is repeated",
		"?type=":                "leave the key out",
		"?stats=maybe&limit=10": "expected true or false",
	} {
		if code, _, body := s.do(request{method: "GET", path: "/api/v1/events" + query}); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", query, code, body, want)
		}
	}
}

// stream opens an event stream by hand, and reads its header.
func (s *served) stream(target string, header ...string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	conn := s.dial()
	text := "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n" + strings.Join(append(header, ""), "\r\n") + "\r\n"
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		s.t.Fatalf("%q, %v", line, err)
	}
	return conn, r
}

// streamLines reads n lines with a prefix.
func streamLines(t *testing.T, r *bufio.Reader, prefix string, n int) (lines []string) {
	t.Helper()
	for len(lines) < n {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, lines)
		}
		if line = strings.TrimSpace(line); strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

// A stream has events as they happen, after the one that the client saw last.
func TestEventStream(t *testing.T) {
	events := newFakeEvents()
	s := serve(t, "unix", withEvents(events))
	events.publish(three[0])
	_, all := s.stream("/api/v1/events")
	_, rest := s.stream("/api/v1/events?after=1")
	_, later := s.stream("/api/v1/events", "Last-Event-ID: 2")
	_, failures := s.stream("/api/v1/events?level=error")
	events.publish(three[1:]...)
	for want, r := range map[string]*bufio.Reader{"id: 1": all, "id: 2": rest, "id: 3": later} {
		if got := streamLines(t, r, "id: ", 1); got[0] != want {
			t.Errorf("first %s, want %s", got[0], want)
		}
	}
	if got := streamLines(t, failures, "id: ", 1); got[0] != "id: 3" {
		t.Errorf("%q", got)
	}
	_, stats := s.stream("/api/v1/events?stats=true&after=3")
	want := []string{"event: history", "event: gap", "event: stats"}
	if got := streamLines(t, stats, "event: ", 3); strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("%q, want %q", got, want)
	}
	if code, _, body := s.do(request{method: "GET", path: "/api/v1/events",
		header: map[string]string{"Accept": "text/event-stream", "Last-Event-ID": "x"}}); code != 400 {
		t.Errorf("%d %s", code, body)
	}
	if code, header, body := s.do(request{method: "HEAD", path: "/api/v1/events",
		header: map[string]string{"Accept": "text/event-stream"}}); code != 200 || header.Get("Content-Type") != "text/event-stream" || body != "" {
		t.Errorf("HEAD: %d %v %s", code, header, body)
	}
}

// A stream without events has comments, so that each side notices when the other has gone.
func TestStreamHeartbeat(t *testing.T) {
	s := serve(t, "unix", withEvents(newFakeEvents()))
	s.server.SetHeartbeat(10 * time.Millisecond)
	_, r := s.stream("/api/v1/events")
	streamLines(t, r, ": still here", 3)
}

// Streams are limited, and leave connections for others.
// A page of another site could open streams, without reading them, until no other client has one.
func TestStreamsOfOtherSites(t *testing.T) {
	s := serve(t, "unix", withEvents(newFakeEvents()))
	for _, site := range []string{"cross-site", "same-site"} {
		q := request{method: "GET", path: "/api/v1/events", header: map[string]string{"Accept": "text/event-stream", "Sec-Fetch-Site": site}}
		if code, _, body := s.do(q); code != 403 || !strings.Contains(body, "cross-origin event stream refused") {
			t.Errorf("%s: %d %s", site, code, body)
		}
	}
	for _, site := range []string{"same-origin", "none"} {
		s.stream("/api/v1/events", "Sec-Fetch-Site: "+site)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	s := serve(t, "unix", withEvents(newFakeEvents()))
	var open []net.Conn
	for range admin.MaxStreams {
		conn, _ := s.stream("/api/v1/events")
		open = append(open, conn)
	}
	more := request{method: "GET", path: "/api/v1/events", header: map[string]string{"Accept": "text/event-stream"}}
	if code, header, body := s.do(more); code != 503 || header.Get("Retry-After") == "" || !strings.Contains(body, "all 16 event streams are in use") {
		t.Errorf("%d %v %s", code, header, body)
	}
	for range 2 * admin.MaxConnections { // and they are not replaced
		s.dial()
	}
	if code, _, body := s.do(read); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	open[0].Close()
	testnet.Eventually(t, "a stream has ended", func() bool { return s.server.Streams() == admin.MaxStreams-1 })
}

// Clients that never read lose their streams, and others are served meanwhile.
func TestStreamsOfClientsThatNeverRead(t *testing.T) {
	events := newFakeEvents()
	s := serve(t, "unix", withEvents(events))
	s.server.SetPatience(50 * time.Millisecond)
	for range admin.MaxStreams {
		s.stream("/api/v1/events")
	}
	e := three[0]
	e.Message = strings.Repeat("x", 1<<20) // more than socket buffers hold
	events.publish(e, e)
	if code, _, body := s.do(read); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	testnet.Eventually(t, "they have ended", func() bool { return s.server.Streams() == 0 })
}

// Clients that never read delay no shutdown, however long they may take to read.
func TestShutdownWithUnreadStreams(t *testing.T) {
	events := newFakeEvents()
	s := serve(t, "unix", withEvents(events))
	s.server.SetPatience(time.Hour)
	for range admin.MaxStreams {
		s.stream("/api/v1/events")
	}
	e := three[0]
	e.Message = strings.Repeat("x", 1<<20) // more than socket buffers hold
	events.publish(e, e)
	if code, _, body := s.do(read); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s.shutdown(ctx)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
}

// A history is one message, whatever its length, and its pieces take little memory.
func TestHistoryOfAStream(t *testing.T) {
	for _, length := range []int{0, 1, 120} {
		history := make([]admin.Stats, length)
		for i := range history {
			history[i] = admin.Stats{Connections: i, Listeners: make([]admin.ListenerStats, 50), Pools: make([]admin.PoolStats, 50)}
		}
		s := serve(t, "unix", func(o *admin.Options) { o.Events = fakeHistory(history) })
		var got []admin.Stats
		done := errors.New("done")
		err := s.client("").Follow(t.Context(), admin.EventQuery{Stats: true}, func(m admin.StreamMessage) error {
			got = m.History
			return done
		}, nil)
		if err != done || len(got) != length || length > 0 && got[length-1].Connections != length-1 {
			t.Errorf("%d stats, want %d: %v", len(got), length, err)
		}
		_, r := s.stream("/api/v1/events?stats=true")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if len(line) > 64<<10 {
				t.Errorf("a line of %d bytes", len(line))
			}
			if line == "data: ]\n" {
				break
			}
		}
		s.stop()
	}
}

// fakeHistory are events of which there are none.
type fakeHistory []admin.Stats

func (fakeHistory) Recent(uint64) []admin.Event { return nil }

func (f fakeHistory) Follow(ctx context.Context, _ uint64, _ bool, send func(admin.StreamMessage) error) error {
	if err := send(admin.StreamMessage{History: append([]admin.Stats{}, f...)}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// A stream ends when the server shuts down, before the grace of other requests. The client
// reconnects, and misses no event.
func TestFollowingOverAShutdown(t *testing.T) {
	events := newFakeEvents()
	events.publish(three[:2]...)
	s := serve(t, "tcp", withEvents(events))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, lost := make(chan uint64, 10), make(chan error, 100)
	done := make(chan error, 1)
	c := s.client("")
	go func() {
		done <- c.Follow(ctx, admin.EventQuery{}, func(m admin.StreamMessage) error { got <- m.Event.ID; return nil }, func(err error) { lost <- err })
	}()
	for want := uint64(1); want <= 2; want++ {
		if id := <-got; id != want {
			t.Fatalf("event %d, want %d", id, want)
		}
	}
	began := time.Now()
	s.shutdown(context.Background())
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	if err := <-lost; err == nil {
		t.Error("the stream ended without an error")
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, withEvents(events))
	events.publish(three[2])
	if id := <-got; id != 3 {
		t.Errorf("event %d, want 3", id)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Follow ends when it is refused, when the receiver wants it to, and when nothing answers at first.
func TestFollowEnds(t *testing.T) {
	events := newFakeEvents()
	events.publish(three...)
	s := serve(t, "tcp", withEvents(events), faraway, withToken)
	follow := func(c *client.Client, receive func(admin.StreamMessage) error) error {
		return c.Follow(t.Context(), admin.EventQuery{Stats: true}, receive, nil)
	}
	if err := follow(s.client("wrong"), nil); err == nil || !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("a wrong token: %v", err)
	}
	var kinds []string
	err := follow(s.client(token), func(m admin.StreamMessage) error {
		switch {
		case m.History != nil:
			kinds = append(kinds, fmt.Sprint("history ", m.History[0].Connections))
		case m.Gap != nil:
			kinds = append(kinds, fmt.Sprint("gap ", m.Gap.Missed))
		case m.Stats != nil:
			kinds = append(kinds, fmt.Sprint("stats ", m.Stats.Connections))
		case m.Event.ID == 2:
			return io.ErrShortWrite
		}
		return nil
	})
	if err != io.ErrShortWrite || strings.Join(kinds, ", ") != "history 1, gap 3, stats 2" {
		t.Errorf("%v after %q", err, kinds)
	}
	s.stop()
	if err := follow(s.client(token), nil); err == nil {
		t.Error("followed a server that has ended")
	}
}
