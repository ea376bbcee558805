package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// One response of 100 goes wrong. It is counted by what happened, the connection is opened again,
// and the others pass.
func TestFaults(t *testing.T) {
	const bad = 50
	for _, test := range []struct {
		name   string
		want   []string // any of them
		misdo  func(conn testnet.Conn, response []byte) bool
		verify bool
	}{
		{"wrong byte", []string{faultBytes}, func(_ testnet.Conn, b []byte) bool { b[0]++; return true }, false},
		{"wrong last byte", []string{faultBytes}, func(_ testnet.Conn, b []byte) bool { b[len(b)-1]++; return true }, false},
		{"wrong byte within", []string{faultBytes}, func(_ testnet.Conn, b []byte) bool { b[len(b)/2]++; return true }, true},
		{"early end", []string{faultEarlyEnd}, func(testnet.Conn, []byte) bool { return false }, false},
		{"early end within", []string{faultEarlyEnd}, func(conn testnet.Conn, b []byte) bool {
			_, _ = conn.Write(b[:1])
			return false
		}, false},
		{"reset", []string{"receive: connection reset by peer"}, func(conn testnet.Conn, _ []byte) bool {
			_ = testnet.Reset(conn)
			return false
		}, false},
		{"excess", []string{faultExcess}, func(conn testnet.Conn, b []byte) bool {
			_, _ = conn.Write(append(slices.Clone(b), 0))
			_, _ = io.Copy(io.Discard, conn)
			return false
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.SameFiles(t)
			var connections atomic.Int32
			const size = 3
			target := startServer(t, func(conn testnet.Conn, number int) {
				connections.Add(1)
				response := make([]byte, size)
				for i := 0; ; i++ {
					var b [1]byte
					if _, err := io.ReadFull(conn, b[:]); err != nil {
						return
					}
					copy(response, pattern)
					if number == 0 && i == bad && !test.misdo(conn, response) {
						return
					}
					if _, err := conn.Write(response); err != nil {
						return
					}
				}
			})
			spec := smallRequests(target)
			spec.ResponseBytes, spec.Limit, spec.Verify = size, 100, test.verify
			got := runClient(t, spec)
			if got.Operations != 99 || got.Failed != 1 || got.Latency.Count != 99 {
				t.Errorf("%d operations, %d failures, %d latencies", got.Operations, got.Failed, got.Latency.Count)
			}
			for sentence, n := range got.Failures {
				if n != 1 || !slices.Contains(test.want, sentence) {
					t.Errorf("%d of %q, want 1 of %q", n, sentence, test.want)
				}
			}
			if n := connections.Load(); n != 2 {
				t.Errorf("%d connections, want a second one after the failure", n)
			}
		})
	}
}

// An end between two requests belongs to no operation, but is a failure.
func TestEndBetweenRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(bounded(t))
	target := startServer(t, func(conn testnet.Conn, number int) {
		if number > 0 {
			cancel() // the connection has been opened again
		}
		answer(conn, func(_ int, b []byte) bool {
			_, _ = conn.Write(b)
			return false
		})
	})
	spec := smallRequests(target)
	spec.Rate, spec.Duration = 0.01, time.Hour // the second request is due when the test is over
	result, err := RunClient(ctx, spec)
	if result.Operations != 1 || result.Failed != 1 || result.Failures[faultEnd] != 1 {
		t.Errorf("%d operations, failures %v, want 1, and one: %s", result.Operations, result.Failures, faultEnd)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A run with few operations is judged at its end.
func TestFewOperationsAreJudgedAtTheEnd(t *testing.T) {
	target := startServer(t, func(conn testnet.Conn, _ int) {
		answer(conn, func(n int, b []byte) bool {
			if n == 4 {
				b[0]++
			}
			return true
		})
	})
	spec := smallRequests(target)
	spec.Limit = 5
	result, err := RunClient(bounded(t), spec)
	if want := "1 of 5 failed"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if result.Operations != 4 || result.Failed != 1 {
		t.Errorf("%d operations, %d failures", result.Operations, result.Failed)
	}
}

func TestRefused(t *testing.T) {
	testnet.SameFiles(t)
	for _, work := range []string{Request, Connection, Send, Receive, Idle} {
		spec := smallRequests(testnet.Refusing(t))
		spec.Work, spec.Duration, spec.Connections = work, time.Hour, 3
		result, err := RunClient(bounded(t), spec)
		if want := "10 of 10 failed, the last one: connect: connection refused"; err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", work, err, want)
		}
		if n := result.Failures["connect: connection refused"]; n < 10 || n != result.Failed {
			t.Errorf("%s: failures %v", work, result.Failures)
		}
	}
}

func TestSourceOfAnotherMachine(t *testing.T) {
	spec := smallRequests("127.0.0.1:1")
	spec.Limit, spec.Sources = 1, []string{"192.0.2.1"}
	_, err := RunClient(bounded(t), spec)
	if want := sentence("bind", unix.EADDRNOTAVAIL); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v, want one that ends in %q", err, want)
	}
}

// A run ends when one in ten fails, with the result until then.
func TestTooManyFailures(t *testing.T) {
	target := startServer(t, func(conn testnet.Conn, _ int) {
		answer(conn, func(n int, b []byte) bool {
			if n == 4 {
				b[0]++
			}
			return true
		})
	})
	spec := smallRequests(target)
	spec.Duration = time.Hour
	result, err := RunClient(bounded(t), spec)
	if want := "10 of 50 failed, the last one: " + faultBytes; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if result.Failed != 10 || result.Operations != 40 {
		t.Errorf("%d failures, %d operations, want 10 and 40", result.Failed, result.Operations)
	}
}

func TestMostFailures(t *testing.T) {
	spec := smallRequests("127.0.0.1:1")
	spec.Limit = 1
	r, err := newClientRun(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer r.loop.close()
	var cause error
	r.fail = func(err error) { cause = err }
	r.loop.succeeded = 1e9
	failed := func() {
		r.loop.record.fault("x")
		r.failed("x")
	}
	for range mostFailures {
		failed()
	}
	if cause != nil || r.stopped.Load() {
		t.Errorf("%d failures of 1e9 ended the run: %v", mostFailures, cause)
	}
	failed()
	if want := "more than 1000 failures, the last one: x"; cause == nil || cause.Error() != want || !r.stopped.Load() {
		t.Errorf("error %v, want %s", cause, want)
	}
}

// A byte that is missing in a stream is found by the receiver, which looks at the start of each
// delivery only.
func TestStreamWithAHole(t *testing.T) {
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprint(verify), func(t *testing.T) {
			target := startServer(t, func(conn testnet.Conn, _ int) {
				position := uint64(0)
				for i := 0; ; i++ {
					n, err := conn.Write(stretch(position, largestStretch))
					if err != nil {
						return
					}
					position += uint64(n)
					if i == 20 {
						position++
					}
				}
			})
			_, err := RunClient(bounded(t), ClientSpec{
				Target: []string{target}, Work: Receive, Connections: 1, Limit: 1 << 40, Verify: verify,
			})
			if err == nil || !strings.HasSuffix(err.Error(), faultBytes) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// An end, or a byte, that a sender does not expect.
func TestSenderIsInterrupted(t *testing.T) {
	for _, test := range []struct {
		want  string
		misdo func(conn testnet.Conn)
	}{
		{faultStreamEnd, func(conn testnet.Conn) { _ = conn.CloseWrite() }},
		{faultUnasked, func(conn testnet.Conn) { _, _ = conn.Write([]byte{0}) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			target := startServer(t, func(conn testnet.Conn, _ int) {
				test.misdo(conn)
				_, _ = io.Copy(io.Discard, conn)
			})
			result, err := RunClient(bounded(t), ClientSpec{Target: []string{target}, Work: Send, Connections: 1, Duration: time.Hour})
			if err == nil || result.Failures[test.want] != result.Failed {
				t.Errorf("error %v, failures %v, want %q", err, result.Failures, test.want)
			}
		})
	}
}

// Bytes right after a response are found with it, because no further event follows. Later ones are
// found when they come.
func TestBehindTheResponse(t *testing.T) {
	end := func(peer int) { _ = unix.Shutdown(peer, unix.SHUT_WR) }
	more := func(peer int) { _, _ = unix.Write(peer, []byte{0}) }
	for _, test := range []struct {
		name, work string
		then       func(peer int)
		want       string
	}{
		{"end", Request, end, faultEnd},
		{"end", Idle, end, faultEnd},
		{"bytes", Connection, more, faultExcess},
		{"end", Connection, end, ""},
	} {
		t.Run(test.work+" "+test.name, func(t *testing.T) {
			spec := smallRequests("127.0.0.1:1")
			spec.Work, spec.Duration = test.work, time.Hour
			l, c, peer := idleLoop(t, spec)
			l.toOpen, l.opening = 1, 1
			l.until = 0 // no further operation
			c.beginMessage(Now())
			l.work.event(c)
			if _, err := unix.Write(peer, pattern[:1]); err != nil {
				t.Fatal(err)
			}
			if test.work == Connection {
				l.dispatch(c, unix.EPOLLIN)
				if c.state != ending {
					t.Fatal("it does not wait for the origin's end")
				}
			}
			test.then(peer)
			l.dispatch(c, unix.EPOLLIN|unix.EPOLLRDHUP)
			if c.fd != -1 {
				t.Error("the connection is still open")
			}
			if n := l.record.failures[test.want]; test.want != "" && n != 1 || test.want == "" && l.record.failed != 0 {
				t.Errorf("failures %v, want one of %q", l.record.failures, test.want)
			}
			if got := l.succeeded; got != 1 && test.name == "end" {
				t.Errorf("%d operations succeeded, want one", got)
			}
		})
	}
}
