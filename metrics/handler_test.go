package metrics

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCompression(t *testing.T) {
	h := handler(sample(1000))
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	compressed := w.Body.Len()
	if w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Content-Length") != fmt.Sprint(compressed) {
		t.Fatal(w.Header())
	}
	unzip, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, unzip)
	if err != nil || n < 5*int64(compressed) {
		t.Errorf("%d bytes compressed to %d: %v", n, compressed, err)
	}
}

// TestFirstScrape: a proxy that has served no client yet has metrics, and nothing to warn about.
func TestFirstScrape(t *testing.T) {
	var log strings.Builder
	h := Handler(fixed{&Snapshot{Listeners: []Listener{{Name: "l"}}}}, slog.New(slog.NewTextHandler(&log, nil)))
	for _, accept := range []string{plain, "application/openmetrics-text", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"} {
		if text := scrape(t, h, accept).Body.String(); !strings.Contains(text, "l4proxy_") {
			t.Errorf("%s: %q", accept, text)
		}
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// stuck is a client that does not read until it is released.
type stuck struct {
	*httptest.ResponseRecorder
	writing, released chan struct{}
}

func (s stuck) Write(text []byte) (int, error) {
	s.writing <- struct{}{}
	<-s.released
	return len(text), nil
}

// TestStuckClients: clients that do not read hold up no others, until there are too many.
func TestStuckClients(t *testing.T) {
	h := handler(sample(1))
	released, writing := make(chan struct{}), make(chan struct{})
	var done []chan struct{}
	for range answersMost - 1 {
		over := make(chan struct{})
		done = append(done, over)
		go func() {
			defer close(over)
			h.ServeHTTP(stuck{httptest.NewRecorder(), writing, released}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		}()
		<-writing
	}
	scrape(t, h, plain)
	go h.ServeHTTP(stuck{httptest.NewRecorder(), writing, released}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	<-writing
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d", w.Code)
	}
	close(released)
	for _, over := range done {
		<-over
	}
	scrape(t, h, plain)
}

// TestNothingIsMissing: a service that has done nothing yet is no reason for a line in the log with
// each scrape, in any format.
func TestNothingIsMissing(t *testing.T) {
	var log bytes.Buffer
	h := Handler(fixed{&Snapshot{Listeners: []Listener{{Name: "web"}}, Pools: []Pool{{Name: "back"}}}}, slog.New(slog.NewTextHandler(&log, nil)))
	for _, accept := range []string{plain, openMetrics, protobuf} {
		scrape(t, h, accept)
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// TestManyBackends: an answer with 10,000 backends takes less than 200 ms of CPU time. That is what
// it takes at most on a machine with nothing else to do; tests run beside others.
func TestManyBackends(t *testing.T) {
	h := handler(sample(10_000))
	least := time.Hour
	for range 5 {
		before := cpuTime(t)
		if n := scrape(t, h, plain).Body.Len(); n < 1<<20 {
			t.Fatalf("%d bytes", n)
		}
		least = min(least, cpuTime(t)-before)
	}
	t.Logf("%v of CPU time", least)
	if least > 200*time.Millisecond && !underRace {
		t.Errorf("an answer took %v of CPU time", least)
	}
}

// cpuTime is that of this process.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

func BenchmarkManyBackends(b *testing.B) {
	h := handler(sample(10_000))
	for _, encoding := range []string{"identity", "gzip"} {
		for _, accept := range []string{plain, protobuf} {
			name, _, _ := strings.Cut(accept, ";")
			b.Run(encoding+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
					r.Header.Set("Accept", accept)
					r.Header.Set("Accept-Encoding", encoding)
					h.ServeHTTP(httptest.NewRecorder(), r)
				}
			})
		}
	}
}
