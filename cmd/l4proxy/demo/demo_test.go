package demo

import (
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
