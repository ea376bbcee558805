package observe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers are what a made-up proxy answers, by path.
type answers map[string]http.HandlerFunc

// text answers with a text, and text after it for as long as the client reads.
func text(first string, more ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, first)
		for len(more) > 0 && r.Context().Err() == nil {
			_, _ = io.WriteString(w, more[0])
			_ = http.NewResponseController(w).Flush()
			<-time.After(time.Millisecond)
		}
	}
}

func observable() answers {
	return answers{
		"/metrics":            text("# HELP\nl4proxy_connections_active{listener=\"web\"} 1\n"),
		"/api/v1/status":      text("{}"),
		"/api/v1/connections": text("{}"),
		"/api/v1/events":      text("event: history\ndata: []\n\n", "event: stats\ndata: {}\n\n"),
	}
}

func (a answers) serve(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, handler := range a {
		mux.HandleFunc(path, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestObserve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready := 0
	seen, err := Run(ctx, observable().serve(t), func() {
		ready++
		// The next scrape is due after a second.
		time.AfterFunc(ScrapePace+ScrapePace/2, cancel)
	})
	if err != nil || ready != 1 {
		t.Fatalf("error %v, ready %d times", err, ready)
	}
	if seen.Scrapes < 1 || seen.Stats < 1 || seen.ScrapedBytes < seen.Scrapes || seen.SlowestMS <= 0 {
		t.Errorf("%+v", seen)
	}
}

// What does not work is no observation.
func TestFailures(t *testing.T) {
	unavailable := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotImplemented) }
	for path, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"/metrics":            {text("nothing\n"), "/metrics has no l4proxy_connections_active"},
		"/api/v1/status":      {unavailable, "/api/v1/status: 501 Not Implemented"},
		"/api/v1/connections": {unavailable, "/api/v1/connections?sort=rate&limit=100: 501 Not Implemented"},
		"/api/v1/events":      {text("event: stats\n"), "the event stream: EOF"},
	} {
		proxy := observable()
		proxy[path] = test.answer
		_, err := Run(t.Context(), proxy.serve(t), func() {})
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("%s: error %q, want %q", path, got, test.want)
		}
	}
	proxy := observable()
	delete(proxy, "/api/v1/events")
	if _, err := Run(t.Context(), proxy.serve(t), func() {}); err == nil {
		t.Error("a proxy without events was observed")
	}
}

func TestEnough(t *testing.T) {
	const d = 10 * time.Second
	enough := Seen{Scrapes: 9, Stats: 9, Pages: 4}
	if err := enough.Enough(d); err != nil {
		t.Error(err)
	}
	for _, s := range []Seen{{Scrapes: 8, Stats: 9, Pages: 4}, {Scrapes: 9, Stats: 8, Pages: 4}, {Scrapes: 9, Stats: 9, Pages: 3}} {
		if s.Enough(d) == nil {
			t.Errorf("%+v is enough", s)
		}
	}
}
