package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

const adminToken = "a-long-random-token"

// TestFaultAdminClients holds that hostile clients of the admin address disturb neither the traffic
// nor the operator, change nothing, and take no more than their share of descriptors: clients that
// never send, never finish a header, never read, or come from a page of another site.
func TestFaultAdminClients(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo)
		at := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, backends: []string{b.Addr}, top: fmt.Sprintf("admin: {bind: %q, token: %s}", at, adminToken)})
		operator, err := client.New(at, adminToken)
		if err != nil {
			t.Fatal(err)
		}
		status := func() {
			t.Helper()
			if s, err := operator.Status(t.Context()); err != nil || !s.Ready {
				t.Fatalf("status %+v, %v", s, err)
			}
		}
		echo := func() {
			t.Helper()
			s := testnet.Dial(t, "unix", p.socket)
			defer s.Close()
			if err := testnet.Stream(1).Send(s, 1<<16, 4096); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := testnet.Stream(1).CheckExactly(s, 1<<16, 4096); err != nil {
				t.Fatal(err)
			}
		}
		status()
		echo()
		testnet.Eventually(t, "the connections have ended", func() bool { s, err := operator.Status(t.Context()); return err == nil && s.Connections == 0 })
		files := p.openFiles()

		const each = 300
		var hostile []net.Conn
		for _, text := range []string{
			"", "GET /api/v1/status HTTP/1.1\r\nHost: loc", "POST /api/v1/reload HTTP/1.1\r\nHost: " + at + "\r\nContent-Length: 9\r\n\r\n{",
			strings.Repeat("GET /api/v1/status HTTP/1.1\r\nHost: "+at+"\r\n\r\n", 50),
		} {
			for range each {
				c := testnet.Dial(t, "tcp", at)
				if _, err := io.WriteString(c, text); err != nil && !testnet.IsReset(err) {
					t.Fatal(err)
				}
				hostile = append(hostile, c)
			}
			status()
			echo()
			if now := p.openFiles(); now > files+100 {
				t.Errorf("%d descriptors are open, %d were before", now, files)
			}
		}
		strangers(t, at)
		if s, err := operator.Status(t.Context()); err != nil || s.Config.Generation != 1 || len(s.Drains) > 0 || !s.Ready {
			t.Errorf("a stranger has changed something: %+v, %v", s, err)
		}
		for _, c := range hostile {
			c.Close()
		}
		testnet.Eventually(t, "the descriptors are closed", func() bool { return p.openFiles() <= files })
	})
}

// strangers sends changes that are refused.
func strangers(t *testing.T, at string) {
	t.Helper()
	for _, c := range []struct {
		host, origin, token string
		want                int
	}{
		{at, "", "", http.StatusUnauthorized},
		{at, "", "guess", http.StatusUnauthorized},
		{"evil.example", "", adminToken, http.StatusForbidden},
		{at, "http://evil.example", adminToken, http.StatusForbidden},
	} {
		for _, path := range []string{"/api/v1/reload", "/api/v1/drain", "/api/v1/upgrade", "/api/v1/reload/rollback"} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			r, err := http.NewRequestWithContext(ctx, "POST", "http://"+at+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host, r.Close = c.host, true
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if c.token != "" {
				r.Header.Set("Authorization", "Bearer "+c.token)
			}
			response, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != c.want {
				t.Errorf("%s with %+v: %s", path, c, response.Status)
			}
			cancel()
		}
	}
}
