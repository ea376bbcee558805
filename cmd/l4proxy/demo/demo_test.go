package demo

import (
	"bufio"
	"context"
	"fmt"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts count backends, which end with the test.
func run(t *testing.T, count int) []*Backend {
	t.Helper()
	backends, err := Listen(count)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, b := range backends {
		running.Go(func() { b.Run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return backends
}

var client = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, b *Backend, path string) (int, string) {
	t.Helper()
	answer, err := client.Get("http://" + b.Addr() + path)
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

// dials reports whether the backend accepts connections.
func dials(b *Backend) bool {
	conn, err := net.Dial("tcp", b.Addr())
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10s: " + what)
		}
	}
}

func TestBackendSaysWhoItIs(t *testing.T) {
	b := run(t, 2)[1]
	if _, body := get(t, b, "/?bytes=10"); !strings.HasPrefix(body, "backend-2 says hello; you came through 127.0.0.1:") ||
		!strings.HasSuffix(body, "; connections served: 1\n..........") {
		t.Errorf("answer %q", body)
	}
	if _, body := get(t, b, HealthPath); body != "ok\n" {
		t.Errorf("health check %q", body)
	}
	if _, body := get(t, b, "/"); !strings.HasSuffix(body, "; connections served: 2\n") {
		t.Errorf("answer %q: does a health check count?", body)
	}
	for _, bad := range []string{"bytes=x", "bytes=-1", "bytes=99999999"} {
		if code, body := get(t, b, "/?"+bad); code != http.StatusBadRequest || !strings.Contains(body, "write a number") {
			t.Errorf("%s: %d %q", bad, code, body)
		}
	}
	if _, body := get(t, b, "/stream?for=1ms"); !strings.HasPrefix(body, "backend-2 is still here ") {
		t.Errorf("stream %q", body)
	}
}

func TestFaultByPathEndsByItself(t *testing.T) {
	b := run(t, 1)[0]
	for _, bad := range []string{"soon", "0s", "-1s", "2h"} {
		if code, body := get(t, b, "/stop?for="+bad); code != http.StatusBadRequest || !strings.Contains(body, "write a time") {
			t.Errorf("for=%s: %d %q", bad, code, body)
		}
	}
	if _, body := get(t, b, "/stop?for=50ms"); body != "backend-1 refuses connections, for 50ms from now on\n" {
		t.Errorf("answer %q", body)
	}
	eventually(t, "the backend listens again", func() bool { return dials(b) })
	if f := b.Fault(); f != None {
		t.Errorf("fault %s", f)
	}
	get(t, b, "/slow?for=50ms")
	if f := b.Fault(); f != Slow {
		t.Errorf("fault %s, want slow", f)
	}
	eventually(t, "the backend is fast again", func() bool { return b.Fault() == None })
}

// A fault without an end is not ended by the timer of an earlier one.
func TestFaultReplacesAnother(t *testing.T) {
	b := run(t, 1)[0]
	b.SetFault(Slow, time.Millisecond)
	b.SetFault(Hang, 0)
	early := time.After(50 * time.Millisecond)
	for {
		if f := b.Fault(); f != Hang {
			t.Fatalf("fault %s, want hang", f)
		}
		select {
		case <-early:
			return
		default:
		}
	}
}

func TestStoppedBackendCutsItsConnections(t *testing.T) {
	backends := run(t, 2)
	b := backends[0]
	answer, err := client.Get("http://" + b.Addr() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b.SetFault(Stop, 0)
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("a stopped backend has completed its answer")
	}
	if dials(b) {
		t.Error("a stopped backend has accepted a connection")
	}
	if _, body := get(t, backends[1], "/ok"); body != "all backends work again\n" {
		t.Errorf("answer %q", body)
	}
	eventually(t, "the backend listens again", func() bool { return dials(b) })
}

// A backend that hangs sends nothing on any connection until it is repaired.
func TestHangingBackend(t *testing.T) {
	b := run(t, 1)[0]
	answer, err := client.Get("http://" + b.Addr() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	get(t, b, "/hang?for=1m")
	for _, path := range []string{"/", HealthPath} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			t.Errorf("%s: a backend that hangs has answered", path)
		}
		cancel()
	}
	more := make(chan error, 1)
	go func() {
		_, err := lines.ReadString('\n')
		more <- err
	}()
	select {
	case err := <-more:
		t.Errorf("a backend that hangs has sent a line (%v)", err)
	case <-time.After(2 * streamStep):
	}
	get(t, b, "/ok") // directly, this works
	if err := <-more; err != nil {
		t.Errorf("after the repair: %v", err)
	}
}

func TestSlowBackend(t *testing.T) {
	b := run(t, 1)[0]
	b.SetFault(Slow, 0)
	began := time.Now()
	if _, body := get(t, b, "/"); !strings.HasPrefix(body, "backend-1 says hello") {
		t.Errorf("answer %q", body)
	}
	if took := time.Since(began); took < Delay {
		t.Errorf("it took %v, want %v", took, Delay)
	}
}

// The backends end at once, with connections that hang and with clients of each kind.
func TestBackendsEndWithFaults(t *testing.T) {
	backends := run(t, 3)
	for _, path := range []string{"/", "/stream"} {
		for _, b := range backends {
			conn, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
		}
	}
	for i, f := range []Fault{Stop, Hang, Slow} {
		backends[i].SetFault(f, time.Minute)
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
	traffic := NewTraffic(server.Listener.Addr().String(), netip.MustParseAddr("127.0.0.20"), netip.MustParseAddr("127.0.0.13"))
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

// The kinds of clients: short, long, and denied.
func TestTrafficVaries(t *testing.T) {
	b := run(t, 1)[0]
	traffic := NewTraffic(b.Addr(), netip.MustParseAddr("127.0.0.20"), netip.MustParseAddr("127.0.0.13"))
	if err := traffic.kind(1)(t.Context()); err != nil {
		t.Errorf("a short client: %v", err)
	}
	if err := traffic.kind(deniedEvery)(t.Context()); err == nil || !strings.Contains(err.Error(), "should deny") {
		t.Errorf("a client that was served instead of denied: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	long := make(chan error, 1)
	go func() { long <- traffic.kind(streamEvery)(ctx) }()
	eventually(t, "the long client is served", func() bool { return b.served.Load() == 3 })
	cancel()
	if err := <-long; err == nil {
		t.Error("a long client has ended within milliseconds")
	}
}

// With a backend that hangs, the clients give up: they do not pile up.
func TestTrafficGivesUp(t *testing.T) {
	b := run(t, 1)[0]
	b.SetFault(Hang, 0)
	traffic := NewTraffic(b.Addr(), netip.MustParseAddr("127.0.0.20"), netip.MustParseAddr("127.0.0.13"))
	traffic.patience = 100 * time.Millisecond
	began := time.Now()
	if err := traffic.get(t.Context(), "/"); err == nil {
		t.Error("a backend that hangs has answered")
	}
	if took := time.Since(began); took < traffic.patience || took > patience {
		t.Errorf("it took %v, want %v", took, traffic.patience)
	}
}
