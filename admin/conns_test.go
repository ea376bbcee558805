package admin_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"l4proxy/admin"
	"l4proxy/internal/testnet"
)

// raw sends a text on a connection of its own, and returns all that comes back.
func (s *served) raw(text string) string {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	answer, err := io.ReadAll(conn)
	if err != nil && (len(answer) == 0 || !testnet.IsReset(err)) {
		s.t.Fatal(err)
	}
	return string(answer)
}

func (s *served) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(testnet.Patience))
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// Clients that send nothing, half a header or half a body lock no other client out, and take no
// more than their share of descriptors.
func TestSilentClients(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":   "",
		"header":    "GET /api/v1/status HTTP/1.1\r\nHost: loc",
		"kept":      "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"long line": "GET /" + strings.Repeat("x", 1000),
		"body":      "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
		"unknown":   "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
		"origin":    "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\nContent-Length: 9\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "unix")
			before := testnet.OpenFiles(t)
			const clients = 3 * admin.MaxConnections
			for range clients {
				conn := s.dial()
				if _, err := io.WriteString(conn, text); err != nil && !testnet.IsReset(err) {
					t.Fatal(err)
				}
			}
			if code, _, body := s.do(read); code != 200 {
				t.Fatalf("%d %s", code, body)
			}
			testnet.Eventually(t, "the rest is closed", func() bool {
				return testnet.OpenFiles(t)-before <= clients+admin.MaxConnections
			})
		})
	}
}

// A client that does not read an answer is let go, and others are served meanwhile.
func TestClientThatNeverReads(t *testing.T) {
	s := serve(t, "unix")
	s.server.SetPatience(50 * time.Millisecond)
	s.fake.change(func() { s.fake.pools = 2_000 }) // more than socket buffers hold
	var deaf []net.Conn
	for range 3 {
		conn := s.dial()
		deaf = append(deaf, conn)
		if _, err := io.WriteString(conn, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1) // the answer is being written
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatal(err)
		}
	}
	s.fake.change(func() { s.fake.pools = 0 })
	if code, _, body := s.do(read); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	testnet.Eventually(t, "they are let go", func() bool { return s.server.Open() == 0 })
	for _, conn := range deaf {
		if answer, err := io.ReadAll(conn); err != nil && !testnet.IsReset(err) || strings.HasSuffix(string(answer), "}\n") {
			t.Errorf("the answer has %d bytes and its end, %v", len(answer), err)
		}
	}
}

// Clients that do not read their answers lock no other client out, not even with all connections.
func TestClientsThatNeverReadGiveWay(t *testing.T) {
	s := serve(t, "unix")
	s.server.SetPatience(time.Hour)
	s.fake.change(func() { s.fake.pools = 2_000 }) // more than socket buffers hold
	for range admin.MaxConnections {
		conn := s.dial()
		if _, err := io.WriteString(conn, "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // the answer is being written
			t.Fatal(err)
		}
	}
	began := time.Now()
	if code, _, body := s.do(request{method: "GET", path: "/healthz"}); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if took := time.Since(began); took > 8*time.Second { // answerTimeout is longer
		t.Errorf("it took %v", took)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.shutdown(ended)
}

// When all connections are busy, a new one waits, and the busy ones stay.
func TestBusyConnectionsStay(t *testing.T) {
	s := serve(t, "unix")
	began, resume := make(chan struct{}, admin.MaxConnections), make(chan struct{})
	s.fake.change(func() {
		s.fake.during = func(context.Context) { began <- struct{}{}; <-resume }
	})
	var busy []net.Conn
	for range admin.MaxConnections {
		conn := s.dial()
		if _, err := io.WriteString(conn, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-began
		busy = append(busy, conn)
	}
	more := s.dial()
	if _, err := io.WriteString(more, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	busy = append(busy, more)
	close(resume)
	for _, conn := range busy {
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("%v, %v", response, err)
		}
		response.Body.Close()
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// A header that is too large is refused.
func TestHugeHeader(t *testing.T) {
	s := serve(t, "unix")
	got := s.raw("GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 40_000) + "\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("%.100s", got)
	}
}

// Shutdown does not wait for clients in the accept queue.
func TestShutdownWhileClientsWait(t *testing.T) {
	s := serve(t, "unix")
	began := make(chan struct{}, admin.MaxConnections)
	s.fake.change(func() {
		s.fake.during = func(ctx context.Context) { began <- struct{}{}; <-ctx.Done() }
	})
	for range admin.MaxConnections {
		conn := s.dial()
		if _, err := io.WriteString(conn, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-began
	}
	for range 10 {
		s.dial()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.shutdown(ended)
}

// Shutdown lets a request end, does not wait for silent clients, and leaves no connection.
func TestShutdown(t *testing.T) {
	networks(t, func(t *testing.T, network string) {
		s := serve(t, network)
		began, resume := make(chan struct{}), make(chan struct{})
		s.fake.change(func() {
			s.fake.during = func(context.Context) { close(began); <-resume }
		})
		silent := s.dial()
		answered := make(chan int, 1)
		go func() {
			_, err := s.client("").Reload(context.Background(), admin.ReloadRequest{})
			if err != nil {
				t.Error(err)
			}
			answered <- 200
		}()
		<-began
		stopped := make(chan struct{})
		go func() { defer close(stopped); s.stop() }()
		if _, err := silent.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("the silent client got %v", err)
		}
		select {
		case <-stopped:
			t.Fatal("Shutdown did not wait for a request")
		default:
		}
		close(resume)
		<-answered
		<-stopped
	})
}

// When the time is over, the commands are canceled and the connections closed.
func TestShutdownCancels(t *testing.T) {
	s := serve(t, "tcp")
	began := make(chan struct{})
	s.fake.change(func() {
		s.fake.during = func(ctx context.Context) { close(began); <-ctx.Done() }
	})
	failed := make(chan error, 1)
	go func() {
		_, err := s.client("").Reload(context.Background(), admin.ReloadRequest{})
		failed <- err
	}()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.shutdown(ctx)
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}

// A command does not end because its client has gone.
func TestCommandOutlivesItsClient(t *testing.T) {
	s := serve(t, "unix")
	began, ended := make(chan struct{}), make(chan error, 1)
	gone := make(chan struct{})
	s.fake.change(func() {
		s.fake.during = func(ctx context.Context) { close(began); <-gone; ended <- ctx.Err() }
	})
	conn := s.dial()
	if _, err := io.WriteString(conn, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-began
	conn.Close()
	close(gone)
	if err := <-ended; err != nil {
		t.Errorf("the command was canceled: %v", err)
	}
}
