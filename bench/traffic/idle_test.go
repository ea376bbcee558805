package traffic

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// Opened is called when all connections are open. If one is lost after that, for any reason, the
// run reports it, also at its end.
func TestIdle(t *testing.T) {
	for _, test := range []struct {
		name, want string
		misdo      func(conn testnet.Conn)
	}{
		{"nothing", "", func(testnet.Conn) {}},
		{"end", faultEnd, func(conn testnet.Conn) { _ = conn.CloseWrite() }},
		{"reset", "receive: connection reset by peer", func(conn testnet.Conn) {
			_ = testnet.Reset(conn)
		}},
		{"bytes", faultUnasked, func(conn testnet.Conn) { _, _ = conn.Write([]byte{0}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.SameFiles(t)
			const n = 600 // more than are opened at once
			opened := make(chan struct{})
			done := make(chan struct{}, 1)
			target := startServer(t, func(conn testnet.Conn, number int) {
				answer(conn, func(_ int, b []byte) bool {
					if number != 300 {
						return true
					}
					_, _ = conn.Write(b)
					await(t, opened)
					test.misdo(conn)
					done <- struct{}{}
					return false
				})
				_, _ = io.Copy(io.Discard, conn)
			})
			ctx, cancel := context.WithCancel(bounded(t))
			spec := smallRequests(target)
			spec.Work, spec.Connections = Idle, n
			spec.Opened = func() {
				close(opened)
				<-done
				cancel()
			}
			result, err := RunClient(ctx, spec)
			if err != nil {
				t.Error(err)
			}
			want := uint64(1)
			if test.want == "" {
				want = 0
			}
			if result.Failed != want || result.Failures[test.want] != want {
				t.Errorf("failures %v, want %d of %q", result.Failures, want, test.want)
			}
			if result.Operations != n || result.BytesIn != n || result.BytesOut != n || result.Latency.Count != n {
				t.Errorf("%+v, want %d requests, each of 1 byte and with 1 byte back", result, n)
			}
		})
	}
}

// A lost connection is seen while the others are kept, not only at the end, and is not opened
// again.
func TestIdleSeesALossAtOnce(t *testing.T) {
	lose := make(chan struct{})
	var connections atomic.Int32
	target := startServer(t, func(conn testnet.Conn, _ int) {
		connections.Add(1)
		answer(conn, func(_ int, b []byte) bool {
			_, _ = conn.Write(b)
			return false
		})
		await(t, lose)
	})
	spec := smallRequests(target)
	spec.Work, spec.Connections, spec.Duration = Idle, 2*enoughFailures, time.Hour
	spec.Opened = func() { close(lose) }
	result, err := RunClient(bounded(t), spec)
	if err == nil || !strings.Contains(err.Error(), faultEnd) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one that says: %s", err, faultEnd)
	}
	if result.Failed < enoughFailures {
		t.Errorf("%d failures", result.Failed)
	}
	if n := connections.Load(); n != 2*enoughFailures {
		t.Errorf("%d connections, want no more than the %d at the start", n, 2*enoughFailures)
	}
}

func TestIdleEndsByItself(t *testing.T) {
	target := startOrigin(t, OriginSpec{Work: Request, RequestBytes: 1, ResponseBytes: 1})
	spec := smallRequests(target)
	spec.Work, spec.Connections, spec.Duration = Idle, 5, 30*time.Millisecond
	got := runClient(t, spec)
	if got.Seconds != 0.03 || got.Operations != 5 || got.Failed != 0 || len(got.PerSecond) != 0 {
		t.Errorf("%+v", got)
	}
}

// At the end each connection is checked: its event may not have come yet.
func TestIdleLooksAtTheEnd(t *testing.T) {
	for _, test := range []struct {
		misdo func(peer int)
		want  string
	}{
		{func(peer int) { _ = unix.Shutdown(peer, unix.SHUT_WR) }, faultEnd},
		{func(peer int) { _, _ = unix.Write(peer, []byte{0}) }, faultUnasked},
		{func(int) {}, ""},
	} {
		spec := smallRequests("127.0.0.1:1")
		spec.Work = Idle
		l, _, peer := idleLoop(t, spec)
		test.misdo(peer)
		l.work.finish(Now())
		if test.want == "" && l.record.failed > 0 || test.want != "" && l.record.failures[test.want] != 1 {
			t.Errorf("failures %v, want one of %q", l.record.failures, test.want)
		}
	}
}

// Only some connections are being opened at a time.
func TestOpeningIsBounded(t *testing.T) {
	spec := smallRequests(testnet.Listen(t, "tcp", "").Addr)
	spec.Work, spec.Connections = Idle, 2*openingAtOnce
	r, err := newClientRun(spec)
	if err != nil {
		t.Fatal(err)
	}
	l := r.loop
	defer l.close()
	l.openMore()
	if l.toOpen != openingAtOnce {
		t.Errorf("%d connections of %d are under way at once, want %d", l.toOpen, len(l.conns), openingAtOnce)
	}
	for range 2 { // the second time, the same one is opened again after a failure
		l.opened(&l.conns[0])
	}
	if l.toOpen != openingAtOnce+1 {
		t.Errorf("%d connections after the first one was open", l.toOpen)
	}
}
