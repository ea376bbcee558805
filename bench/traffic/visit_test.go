package traffic

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// someVisits is a client's spec for 10 visits in 10 ms, to 3 backends.
func someVisits(targets ...string) ClientSpec {
	return ClientSpec{
		Target: targets, Work: Visit, Connections: 10, RequestBytes: 100, ResponseBytes: 100, Verify: true,
		Rate: 1000, Duration: 10 * time.Millisecond, Timeout: testnet.Patience, Backends: 3,
	}
}

func startBackend(t *testing.T, number int) string {
	t.Helper()
	return startOrigin(t, OriginSpec{Work: Backend, Number: number, RequestBytes: 100, ResponseBytes: 100, Verify: true})
}

// Each visit is recorded, in order, with the backend that answered and its times on the clock that
// all processes share.
func TestVisits(t *testing.T) {
	testnet.SameFiles(t)
	before := Now()
	got := runClient(t, someVisits(startBackend(t, 1), startBackend(t, 3)))
	after := Now()
	if len(got.Visits) != 10 || got.Unanswered != 0 || got.Failed != 0 {
		t.Fatalf("%d visits, %d unanswered, failures %v", len(got.Visits), got.Unanswered, got.Failures)
	}
	earliest := before
	for i, v := range got.Visits {
		if want := 1 + i%2*2; v.Backend != want || v.Failure != "" {
			t.Errorf("visit %d was answered by %d, want %d: %s", i, v.Backend, want, v.Failure)
		}
		if v.Connect <= 0 || v.Took < v.Connect || v.Began < earliest || v.Began+int64(v.Took) > after {
			t.Errorf("visit %d of the time from %d to %d: %+v", i, earliest, after, v)
		}
		earliest = v.Began
	}
	if got.Began < before || got.Began > got.Visits[0].Began {
		t.Errorf("it began at %d, the first visit at %d", got.Began, got.Visits[0].Began)
	}
	if got.Late.Count != 10 {
		t.Errorf("%d visits were judged for being late", got.Late.Count)
	}
}

// Visits of the warm-up are not recorded.
func TestVisitsOfTheWarmUp(t *testing.T) {
	spec := someVisits(startBackend(t, 1))
	spec.WarmUp = 10 * time.Millisecond
	got := runClient(t, spec)
	for range 100 { // on a busy machine, visits of the warm-up may begin late, in the measured part
		if got.Late.Max < 1 {
			break
		}
		got = runClient(t, spec)
	}
	if len(got.Visits) == 0 || len(got.Visits) > 10+1 || got.Visits[0].Began < got.Began {
		t.Errorf("%d visits, the first one %d ns after the beginning", len(got.Visits), got.Visits[0].Began-got.Began)
	}
}

// All visits fail, each in the same way, and the run continues until its end.
func TestVisitsThatFail(t *testing.T) {
	serve := func(respond func(conn testnet.Conn)) func(*testing.T) string {
		return func(t *testing.T) string {
			return startServer(t, func(conn testnet.Conn, _ int) {
				if _, err := io.ReadFull(conn, make([]byte, 100)); err == nil {
					respond(conn)
				}
			})
		}
	}
	response := func(number int, wrong int) []byte {
		p := numberedResponse(number, 100)
		p[wrong]++
		return p
	}
	for _, test := range []struct {
		name      string
		target    func(*testing.T) string
		timeout   time.Duration
		want      string
		connected bool
	}{
		{"refused", func(t *testing.T) string { return testnet.Refusing(t) }, 0, "connect: connection refused", false},
		{"silent", func(t *testing.T) string { return testnet.Silent(t) }, 20 * time.Millisecond, faultNoConnect, false},
		{"mute", serve(func(conn testnet.Conn) { _, _ = io.Copy(io.Discard, conn) }), 20 * time.Millisecond, faultNoAnswer, true},
		{"reset", serve(func(conn testnet.Conn) { _ = testnet.Reset(conn) }), 0, "receive: connection reset by peer", true},
		{"closed", serve(func(testnet.Conn) {}), 0, faultEarlyEnd, true},
		{"closed within", serve(func(conn testnet.Conn) { _, _ = conn.Write(numberedResponse(1, 99)) }), 0, faultEarlyEnd, true},
		{"wrong byte", serve(func(conn testnet.Conn) { _, _ = conn.Write(response(1, 50)) }), 0, faultBytes, true},
		{"wrong number", serve(func(conn testnet.Conn) { _, _ = conn.Write(response(3, 0)) }), 0, faultBytes, true},
		{"no number", serve(func(conn testnet.Conn) { _, _ = conn.Write(numberedResponse(0, 100)) }), 0, faultBytes, true},
		{"excess", serve(func(conn testnet.Conn) { _, _ = conn.Write(numberedResponse(1, 101)) }), 0, faultExcess, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.SameFiles(t)
			spec := someVisits(test.target(t))
			if test.timeout > 0 {
				spec.Timeout = test.timeout
			}
			got := runClient(t, spec)
			if len(got.Visits) != 10 || got.Failed != 10 || got.Failures[test.want] != 10 {
				t.Fatalf("%d visits, failures %v, want 10 times %q", len(got.Visits), got.Failures, test.want)
			}
			for _, v := range got.Visits {
				if v.Failure != test.want || (v.Connect > 0) != test.connected || v.Took < max(v.Connect, test.timeout) {
					t.Errorf("%+v", v)
				}
			}
		})
	}
}

// If a slot is taken again, the timeout is that of the new visit. Visits need not end in the order
// in which they came.
func TestVisitInTheSlotOfAnother(t *testing.T) {
	target := startServer(t, func(conn testnet.Conn, number int) {
		if _, err := io.ReadFull(conn, make([]byte, 100)); err == nil && number == 1 {
			_, _ = conn.Write(numberedResponse(2, 100))
			return
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	spec := someVisits(target)
	spec.Connections, spec.Rate, spec.Duration, spec.Timeout = 2, 100, 30*time.Millisecond, 60*time.Millisecond
	got := runClient(t, spec).Visits
	if len(got) != 3 || got[0].Began > got[1].Began || got[1].Began > got[2].Began {
		t.Fatalf("visits %+v, want 3 in order", got)
	}
	for i, want := range []string{faultNoAnswer, "", faultNoAnswer} {
		if v := got[i]; v.Failure != want || want != "" && v.Took < spec.Timeout {
			t.Errorf("visit %d: %+v, want %q", i, v, want)
		}
	}
}

// A visit keeps nothing of the last one in its slot.
func TestVisitAfterAnother(t *testing.T) {
	spec := someVisits(startBackend(t, 1), testnet.Refusing(t))
	spec.Connections = 1
	for i, v := range runClient(t, spec).Visits {
		if served := i%2 == 0; served != (v.Failure == "") || served != (v.Connect != 0) || served != (v.Backend == 1) {
			t.Errorf("visit %d, to target %d: %+v", i, i%2, v)
		}
	}
}

// Visits that were due while all slots were taken are late.
func TestVisitsThatWaitForASlot(t *testing.T) {
	target := startServer(t, func(conn testnet.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
	spec := someVisits(target)
	spec.Connections, spec.Duration, spec.Timeout = 1, 2*time.Millisecond, 30*time.Millisecond
	if got := runClient(t, spec); len(got.Visits) != 2 || got.Late.Max < 20 {
		t.Errorf("%d visits, %v ms late at most", len(got.Visits), got.Late.Max)
	}
}

// The last visitors have the same time as the others.
func TestLastVisitsHaveTheirTime(t *testing.T) {
	r, err := newClientRun(someVisits("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.loop.close()
	if r.drain <= r.spec.Timeout {
		t.Errorf("the run ends %v after its last visit began, which may take %v", r.drain, r.spec.Timeout)
	}
}

// If this machine is out of descriptors, that is no outage.
func TestVisitsFromAnotherMachine(t *testing.T) {
	spec := someVisits(startBackend(t, 1))
	spec.Sources = []string{"192.0.2.1"}
	if _, err := RunClient(bounded(t), spec); err == nil || err.Error() != sentence("bind", unix.EADDRNOTAVAIL) {
		t.Errorf("error %v", err)
	}
}

func TestVisitsThatAreInterrupted(t *testing.T) {
	testnet.SameFiles(t)
	ctx, cancel := context.WithCancel(bounded(t))
	target := startServer(t, func(conn testnet.Conn, _ int) {
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	spec := someVisits(target)
	spec.Duration = time.Hour
	if got, err := RunClient(ctx, spec); err != context.Canceled || got.Unanswered == 0 {
		t.Errorf("error %v, %d unanswered", err, got.Unanswered)
	}
}

// A backend answers health checks, in HTTP, beside its clients.
func TestBackendIsChecked(t *testing.T) {
	if pattern[0] == firstOfCheck {
		t.Fatal("a client begins as a health check does")
	}
	target := startBackend(t, 1)
	for _, request := range []string{
		"GET / HTTP/1.0\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: " + target + "\r\nConnection: close\r\n\r\n",
	} {
		conn := testnet.Dial(t, "tcp", target)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); string(got) != string(checkAnswer) || err != nil {
			t.Errorf("%q was answered with %q, %v", request, got, err)
		}
	}
	conn := testnet.Dial(t, "tcp", target)
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("half a request was answered with %q, %v", got, err)
	}
	conn = testnet.Dial(t, "tcp", target)
	if _, err := io.WriteString(conn, strings.Repeat("?", 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); !testnet.IsReset(err) {
		t.Errorf("neither a client nor a check, and the end is %v", err)
	}
}

func TestNumberedResponse(t *testing.T) {
	for _, size := range []int{1, 2, period, largestMessage} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			p := numberedResponse(200, size)
			if len(p) != size || p[0] != 200 || !matches(p[1:], 1, true) {
				t.Errorf("%d bytes that begin with %d", len(p), p[0])
			}
		})
	}
}
