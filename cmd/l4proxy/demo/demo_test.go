package demo

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"l4proxy/backend"
	"l4proxy/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts backends and returns how to end them; it is called at the test's end if not before.
func run(t *testing.T, backends []*Backend) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, b := range backends {
		running.Go(func() { b.Run(ctx) })
	}
	end = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(end)
	return end
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestBackend(t *testing.T) {
	backends, err := Listen(2)
	if err != nil {
		t.Fatal(err)
	}
	end := run(t, backends)
	b := backends[1]
	url := "http://" + b.Addr()
	if _, body := get(t, url); !strings.HasPrefix(body, "backend-2 says hello; you came through 127.0.0.1:") ||
		!strings.HasSuffix(body, "; connections served: 1\n") {
		t.Errorf("answer %q", body)
	}
	for _, bad := range []string{"soon", "0s", "-1s", "2h"} {
		if code, body := get(t, url+"/stop?for="+bad); code != http.StatusBadRequest || !strings.Contains(body, "write a time") {
			t.Errorf("for=%s: %d %q", bad, code, body)
		}
	}
	if _, body := get(t, url+"/stop?for=1m"); body != "backend-2 refuses connections for 1m0s from now on: the others take its clients\n" {
		t.Errorf("answer %q", body)
	}
	if conn, err := net.Dial("tcp", b.Addr()); err == nil {
		conn.Close()
		t.Error("a stopped backend has accepted a connection")
	}
	if b.close(time.Second) {
		t.Error("a stopped backend was stopped again")
	}
	if _, body := get(t, "http://"+backends[0].Addr()); !strings.HasPrefix(body, "backend-1 ") {
		t.Errorf("the other backend's answer %q", body)
	}
	end() // during the pause
}

// After a pause the backend listens on the same port again.
func TestBackendComesBack(t *testing.T) {
	backends, err := Listen(1)
	if err != nil {
		t.Fatal(err)
	}
	run(t, backends)
	b := backends[0]
	get(t, "http://"+b.Addr()+"/stop?for=1ms")
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("tcp", b.Addr())
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestTraffic(t *testing.T) {
	var mu sync.Mutex
	clients := make(map[string]int)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if clients[host]++; clients[host] == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if clients[host] == 4 {
			cancel()
		}
	}))
	defer server.Close()
	traffic := NewTraffic(server.Listener.Addr().String(), netip.MustParseAddr("127.0.0.20"))
	traffic.Run(ctx)
	sent, failed := traffic.Counts()
	if clients["127.0.0.20"] != 4 || len(clients) != 1 {
		t.Errorf("requests by client: %v, want 4 from 127.0.0.20", clients)
	}
	// The last one may have been cut off by the end.
	if sent < 3 || sent > 4 || failed != 1 {
		t.Errorf("%d requests, %d failed; want 3 or 4, 1 failed", sent, failed)
	}
}

func records(backends []*Backend) (served, retried, denied, failed proxy.Record) {
	served = proxy.Record{
		Outcome: proxy.Outcome{Side: proxy.SideClient, Reason: proxy.ReasonClosed},
		Client:  netip.MustParseAddrPort("127.0.0.1:4000"),
		Backend: &backend.Backend{Address: backends[1].Addr()},
		BytesIn: 5, BytesOut: 9, Attempts: 1, Duration: 1234567,
	}
	retried = served
	retried.Attempts = 2
	denied = proxy.Record{
		Outcome: proxy.Outcome{Side: proxy.SideProxy, Reason: proxy.ReasonDenied},
		Client:  netip.MustParseAddrPort("127.0.0.13:4000"), Rule: "deny[0]",
	}
	failed = served
	failed.Outcome = proxy.Outcome{Side: proxy.SideBackend, Reason: proxy.ReasonConnectRefused}
	return served, retried, denied, failed
}

func TestReport(t *testing.T) {
	backends, err := Listen(2)
	if err != nil {
		t.Fatal(err)
	}
	end := run(t, backends)
	end()
	served, retried, denied, failed := records(backends)
	quiet := served
	quiet.Client = netip.MustParseAddrPort("127.0.0.20:4000")

	var out bytes.Buffer
	r := NewReport(&out, backends, quiet.Client.Addr())
	for _, record := range []proxy.Record{served, retried, denied, failed, quiet, quiet} {
		r.Finished(&record)
	}
	r.Close()
	for _, want := range []string{
		"  127.0.0.1:4000  -> backend-2  5 bytes in, 9 out, 1.2ms, closed by client\n",
		"  127.0.0.1:4000  -> backend-2  5 bytes in, 9 out, 1.2ms, closed by client (at attempt 2: the others refused)\n",
		"  127.0.0.13:4000  denied by rule deny[0]\n",
		"  127.0.0.1:4000  not served: connect_refused\n",
		"connections served: backend-1 0, backend-2 4; denied 1, failed 1\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "127.0.0.20") {
		t.Errorf("a line for a quiet client in\n%s", out.String())
	}
}

// Beyond a few lines a second, connections are summed up.
func TestReportSumsUp(t *testing.T) {
	backends, err := Listen(2)
	if err != nil {
		t.Fatal(err)
	}
	run(t, backends)()
	served, _, denied, _ := records(backends)
	r := &Report{order: []string{"backend-1", "backend-2"}, names: map[string]string{backends[1].Addr(): "backend-2"},
		lines: make(chan string, linesWaiting), total: newCounts(), second: newCounts()}
	if line := r.tick(); line != "" {
		t.Errorf("a quiet second is reported: %q", line)
	}
	for range linesASecond + 2 {
		r.Finished(&served)
	}
	r.Finished(&denied)
	if len(r.lines) != linesASecond {
		t.Errorf("%d lines, want %d", len(r.lines), linesASecond)
	}
	const want = "  backend-1    0 (+0)  backend-2   12 (+2)  denied 1  failed 0"
	if line := r.tick(); !strings.HasSuffix(line, want) {
		t.Errorf("got %q, want %q", line, want)
	}
	r.Finished(&served)
	if len(r.lines) != linesASecond+1 {
		t.Error("the next second has no lines of its own")
	}
}

// stuck is an output that takes nothing until it is let go.
type stuck struct{ letGo chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.letGo
	return len(p), nil
}

// An output that takes nothing holds up neither the data plane nor the end.
func TestReportOnStuckOutput(t *testing.T) {
	backends, err := Listen(1)
	if err != nil {
		t.Fatal(err)
	}
	run(t, backends)()
	out := stuck{make(chan struct{})}
	r := NewReport(out, backends, netip.Addr{})
	record := proxy.Record{Outcome: proxy.Outcome{Side: proxy.SideProxy, Reason: proxy.ReasonDenied}}
	for range 2 * linesWaiting {
		r.Finished(&record)
	}
	r.Close()
	close(out.letGo)
	<-r.done
	if r.total.denied != 2*linesWaiting {
		t.Errorf("%d denied, want %d", r.total.denied, 2*linesWaiting)
	}
}
