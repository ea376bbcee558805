package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/internal/testnet"
)

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9901":       "http://127.0.0.1:9901",
		":9901":                "http://127.0.0.1:9901",
		"0.0.0.0:9901":         "http://127.0.0.1:9901",
		"[::]:9901":            "http://[::1]:9901",
		"[::1]:9901":           "http://[::1]:9901",
		"[fe80::1%eth0]:9901":  "http://[fe80::1%25eth0]:9901",
		"proxy.example:9901":   "http://proxy.example:9901",
		"http://localhost:99/": "http://localhost:99",
		"unix:/run/admin.sock": "http://localhost",
	} {
		c, err := New(address, "")
		if err != nil || c.base != want || c.Address() != address {
			t.Errorf("%s: %+v, %v, want %s", address, c, err, want)
		}
	}
	for _, wrong := range []string{"", "9901", "localhost", "unix:", "::1:9901", "localhost:"} {
		if c, err := New(wrong, ""); err == nil {
			t.Errorf("%q: %+v", wrong, c)
		}
	}
}

// An answer that is not from an admin API is an error that says so.
func TestForeignAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"html":     {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "its answer is not JSON"},
		"missing":  {http.NotFound, "it answered 404 Not Found"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "it answered 302 Found"},
		"half": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "{")
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			client, err := New(server.Listener.Addr().String(), "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	answers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer answers.Close()
	go func() {
		for {
			conn, err := answers.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n")
			conn.Close()
		}
	}()
	for address, want := range map[string]error{
		testnet.Refusing(t):                       unix.ECONNREFUSED,
		"unix:" + t.TempDir() + "/none":           unix.ENOENT,
		answers.Addr().String():                   nil,
		"unix:" + strings.Repeat("/too-long", 20): unix.EINVAL,
	} {
		client, err := New(address, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Status(t.Context())
		var unreachable *UnreachableError
		if !errors.As(err, &unreachable) || unreachable.Address != address || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", address, err, want)
		}
	}
}

// A process that hangs takes connections and does not answer.
func TestHangingProxy(t *testing.T) {
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	client, err := New(hangs.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	client.read = 10 * time.Millisecond
	_, err = client.Status(t.Context())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), ": it took longer than 10ms") {
		t.Errorf("error %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Status(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// The token goes with every request, and an error comes back as it was.
func TestTokenAndErrors(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hush" {
			t.Errorf("the header is %v", r.Header)
		}
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error":"busy","hint":"wait"}`)
	}))
	defer server.Close()
	client, err := New(server.Listener.Addr().String(), "hush")
	if err != nil {
		t.Fatal(err)
	}
	err = client.Keep(t.Context())
	var failed *admin.Error
	if !errors.As(err, &failed) || *failed != (admin.Error{Status: 409, Message: "busy", Hint: "wait"}) {
		t.Errorf("error %+v", err)
	}
}
