package proxy_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// busyListener listens on a unix socket with a backlog that package net does not offer, and accepts
// nothing by itself.
func busyListener(t *testing.T, backlog int) *net.UnixListener {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.UnixListener)
}

// blameless checks that a backend that is only busy is not in backoff, and that no failure counts
// against it.
func blameless(t *testing.T, b *backend.Backend) {
	t.Helper()
	if _, failed := b.Dials(); failed != 0 || b.InBackoff() {
		t.Errorf("%d dials of the busy backend count as failed; in backoff: %v", failed, b.InBackoff())
	}
}

// TestBusyUnixBackend: 30 clients connect to a server with a queue of five, which serves them one
// after the other. All are served, as without a proxy, where connect(2) waits.
func TestBusyUnixBackend(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		const clients = 30
		l := busyListener(t, 4)
		r := start(t, engine, []string{l.Addr().String()})
		var served sync.WaitGroup
		for range clients {
			c := r.dial()
			served.Go(func() {
				if got, err := ask(c, "hello"); err != nil || got != "hello" {
					t.Errorf("echo = %q, %v", got, err)
				}
				c.Close()
			})
		}
		b := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "all clients are with the backend", func() bool { return b.Active() == clients })
		_ = l.SetDeadline(time.Now().Add(testnet.Patience))
		for range clients { // each request is answered before the next connection is accepted
			c, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			testnet.Echo(c)
			c.Close()
		}
		served.Wait()
		for _, record := range r.ended(clients) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, 5, 5)
			if record.Attempts != 1 {
				t.Errorf("%d attempts, want 1", record.Attempts)
			}
		}
		blameless(t, b)
	})
}

// TestUnixBackendStaysBusy: if the queue stays full until the timeout, the next backend serves, and
// the first is not blamed.
func TestUnixBackendStaysBusy(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := busyListener(t, 0)
		r := start(t, engine, []string{l.Addr().String(), testnet.Serve(t, "tcp", "", testnet.Echo).Addr}, func(s *setup) {
			s.policy, s.timeout = "first", 50*time.Millisecond
		})
		r.dial() // fills the queue
		busy := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the queue is full", func() bool { ok, _ := busy.Dials(); return ok == 1 })
		c := r.dial()
		mustAsk(t, c, "hello")
		c.Close()
		record := r.ended(1)[0]
		if record.Backend != r.pool.Balancer.Members()[1].Backend || record.Attempts != 2 || record.Duration < 50*time.Millisecond {
			t.Errorf("served by %s with attempt %d after %v", record.Backend.Address, record.Attempts, record.Duration)
		}
		blameless(t, busy)
	})
}

// TestOnlyUnixBackendStaysBusy: without another backend, the client is turned away after the
// timeout.
func TestOnlyUnixBackendStaysBusy(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := busyListener(t, 0)
		r := start(t, engine, []string{l.Addr().String()}, func(s *setup) { s.timeout = 50 * time.Millisecond })
		r.dial()
		busy := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the queue is full", func() bool { ok, _ := busy.Dials(); return ok == 1 })
		if n, err := r.dial().Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the client reads %d bytes, %v", n, err)
		}
		r.expect(r.ended(1)[0], proxy.SideBackend, proxy.ReasonConnectTimeout, 0, 0)
		blameless(t, busy)
		testnet.Eventually(t, "nothing of it is left", func() bool { return busy.Active() == 1 })
	})
}

// TestWaitForBusyUnixBackendEnds: clients that no backend serves wait in the queue, but no longer
// than its timeout.
func TestWaitForBusyUnixBackendEnds(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		const timeout = 50 * time.Millisecond
		l := busyListener(t, 0)
		r := start(t, engine, []string{l.Addr().String()}, queueing(0, 10, 3*timeout), func(s *setup) {
			s.listener.NoBackend, s.attempts, s.timeout = proxy.QueueClient, 1, timeout
		})
		r.dial()
		busy := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "the queue is full", func() bool { ok, _ := busy.Dials(); return ok == 1 })
		if n, err := r.dial().Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
		}
		r.expect(r.ended(1)[0], proxy.SideProxy, proxy.ReasonQueueTimeout, 0, 0)
		blameless(t, busy)
	})
}

// TestHedgeBesideBusyUnixBackend: a second dial wins against one that waits for room, and loses if
// it waits for room itself.
func TestHedgeBesideBusyUnixBackend(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		good := testnet.Serve(t, "tcp", "", testnet.Echo)
		first, second := busyListener(t, 0), busyListener(t, 0)
		r := start(t, engine, []string{first.Addr().String(), second.Addr().String(), good.Addr}, hedging(10*time.Millisecond),
			func(s *setup) { s.timeout = 60 * time.Millisecond })
		r.dial()
		busy := r.pool.Balancer.Members()[:2]
		testnet.Eventually(t, "the first queue is full", func() bool { ok, _ := busy[0].Dials(); return ok == 1 })
		r.dial() // the second dial serves it
		testnet.Eventually(t, "the second queue is full", func() bool { ok, _ := busy[1].Dials(); return ok == 1 })
		c := r.dial() // both wait, and the first gives up: the third backend serves
		mustAsk(t, c, "hello")
		c.Close()
		if record := r.ended(1)[0]; record.Backend != r.pool.Balancer.Members()[2].Backend || record.Attempts != 3 {
			t.Errorf("served by %s with attempt %d", record.Backend.Address, record.Attempts)
		}
		for _, b := range busy {
			blameless(t, b.Backend)
			testnet.Eventually(t, "nothing of the dials is left", func() bool { return b.Active() == 1 })
		}
	})
}

// TestStopWhileUnixBackendIsBusy stops the proxy while dials wait for room, including hedged ones.
func TestStopWhileUnixBackendIsBusy(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		first, second := busyListener(t, 0), busyListener(t, 0)
		r := start(t, engine, []string{first.Addr().String(), second.Addr().String()}, hedging(time.Millisecond))
		for range 4 {
			r.dial()
		}
		testnet.Eventually(t, "both are dialled for two clients", func() bool {
			return r.pool.Balancer.Members()[0].Active() >= 3 && r.pool.Balancer.Members()[1].Active() >= 3
		})
		r.cancel()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		for _, b := range r.pool.Balancer.Members() {
			if b.Active() != 0 {
				t.Errorf("%d connections are counted on %s", b.Active(), b.Address)
			}
			blameless(t, b.Backend)
		}
	})
}
