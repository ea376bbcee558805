package proxy_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// enginePairs runs a test with two servers, on each combination of engines.
func enginePairs(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	engines(t, func(t *testing.T, from string) {
		for _, to := range []string{eventloop.IOUring, eventloop.Epoll} {
			t.Run("to "+to, func(t *testing.T) {
				if _, _, err := eventloop.Probe(to); err != nil {
					t.Skip(err)
				}
				testnet.SameFiles(t)
				test(t, from, to)
			})
		}
	})
}

// enginePairsTogether is enginePairs for a test that mostly waits: pairs that differ in the first
// engine run at the same time.
func enginePairsTogether(t *testing.T, test func(t *testing.T, from, to string)) {
	t.Helper()
	enginesTogether(t, func(t *testing.T, from string) {
		for _, to := range []string{eventloop.IOUring, eventloop.Epoll} {
			t.Run("to "+to, func(t *testing.T) {
				if _, _, err := eventloop.Probe(to); err != nil {
					t.Skip(err)
				}
				test(t, from, to)
			})
		}
	})
}

// deliverTo returns a deliver function that acts like another process: it duplicates the
// descriptors, as SCM_RIGHTS does, and copies everything else.
func deliverTo(t testing.TB, to *running) func([]proxy.Moved) error {
	return func(batch []proxy.Moved) error {
		if n := to.server.Adopt(travel(t, batch)); n != len(batch) {
			t.Errorf("%d of %d connections were adopted", n, len(batch))
		}
		return nil
	}
}

func travel(t testing.TB, batch []proxy.Moved) []proxy.Moved {
	copies := make([]proxy.Moved, len(batch))
	for i, m := range batch {
		copies[i] = throughJSON(t, m)
		copies[i].Client, copies[i].Backend = duplicate(t, m.Client), duplicate(t, m.Backend)
		for e := range m.Pending {
			copies[i].Pending[e] = slices.Clone(m.Pending[e])
		}
	}
	return copies
}

func duplicate(t testing.TB, fd int) int {
	if fd < 0 {
		return -1
	}
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
	}
	return fd
}

// handOver moves all connections of r to another proxy.
func (r *running) handOver(to *running) proxy.HandOverReport {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
	defer cancel()
	if err := r.server.PauseAccepting(ctx); err != nil {
		r.t.Error(err)
	}
	defer r.server.ResumeAccepting()
	report, err := r.server.HandOver(ctx, deliverTo(r.t, to))
	if err != nil {
		r.t.Error(err)
	}
	return report
}

// ask sends a line and expects it back.
func talk(t testing.TB, c testnet.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

// TestHandOver: a connection moves to another server and back, and notices nothing. It ends with
// one record, in the server that has it then.
func TestHandOver(t *testing.T) {
	enginePairs(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
		c := one.dial()
		talk(t, c, "hello")
		if report := one.handOver(two); report.Moved != 1 || report.Left != 0 {
			t.Errorf("report: %+v", report)
		}
		if n := one.server.Connections(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if n := one.pool.Balancer.Members()[0].Active(); n != 0 {
			t.Errorf("%d connections are counted on the backend", n)
		}
		if n := two.pool.Balancer.Members()[0].Active(); n != 1 {
			t.Errorf("%d connections are counted on the backend after the move", n)
		}
		talk(t, c, "moved")
		two.handOver(one)
		talk(t, c, "back again")
		one.handOver(two)
		_ = c.CloseWrite()
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("read %q, %v", rest, err)
		}
		two.endedOne(proxy.SideClient, proxy.ReasonClosed, 20, 20)
		if n := len(one.records.all()); n != 0 {
			t.Errorf("%d records in the first server", n)
		}
	})
}

var errNoDelivery = errors.New("no delivery")

// TestHandOverFails: connections that cannot be delivered continue where they are.
func TestHandOverFails(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		var clients []testnet.Conn
		for range 10 {
			c := r.dial()
			talk(t, c, "hello")
			clients = append(clients, c)
		}
		_, err := r.server.HandOver(context.Background(), func([]proxy.Moved) error { return errNoDelivery })
		if !errors.Is(err, errNoDelivery) {
			t.Errorf("HandOver: %v", err)
		}
		for _, c := range clients {
			talk(t, c, "still here")
			c.Close()
		}
		for _, record := range r.ended(10) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, 15, 15)
		}
	})
}
