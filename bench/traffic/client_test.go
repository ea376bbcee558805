package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4proxy/internal/testnet"
)

func TestMessages(t *testing.T) {
	for _, test := range []struct {
		request, response, connections int
		limit                          uint64
		rate                           float64
	}{
		{1, 1, 1, 100, 0},
		{1, 1, 7, 501, 0},
		{1, 1, 7, 100, 1e5},
		{1000, 100_000, 3, 50, 0},
		{largestMessage, largestMessage, 2, 6, 0},
	} {
		for _, work := range []string{Request, Connection} {
			t.Run(fmt.Sprintf("%s %+v", work, test), func(t *testing.T) {
				testnet.SameFiles(t)
				target := startOrigin(t, OriginSpec{
					Work: work, RequestBytes: test.request, ResponseBytes: test.response, Verify: true,
				})
				got := runClient(t, ClientSpec{
					Target: []string{target}, Work: work, Connections: test.connections,
					RequestBytes: test.request, ResponseBytes: test.response, Limit: test.limit, Rate: test.rate, Verify: true,
				})
				want := ClientResult{
					Operations: test.limit,
					BytesOut:   test.limit * uint64(test.request),
					BytesIn:    test.limit * uint64(test.response),
				}
				counted := ClientResult{Operations: got.Operations, BytesOut: got.BytesOut, BytesIn: got.BytesIn,
					Failed: got.Failed, Failures: got.Failures, Unanswered: got.Unanswered}
				if diff := cmp.Diff(want, counted); diff != "" {
					t.Errorf("the result (-want +got):\n%s", diff)
				}
				if got.Latency.Count != test.limit || sum(got.PerSecond) != test.limit {
					t.Errorf("%d latencies, %v operations in the seconds, want %d", got.Latency.Count, got.PerSecond, test.limit)
				}
				if l := got.Latency; l.Max <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
					t.Errorf("latencies %+v", l)
				}
				if got.Seconds <= 0 {
					t.Errorf("%v seconds", got.Seconds)
				}
			})
		}
	}
}

func TestSendSendsThePattern(t *testing.T) {
	testnet.SameFiles(t)
	const limit = 3<<20 + 17
	received := make(chan []byte, 1)
	target := startServer(t, func(conn testnet.Conn, _ int) {
		all, _ := io.ReadAll(conn)
		received <- all
	})
	got := runClient(t, ClientSpec{Target: []string{target}, Work: Send, Connections: 1, Limit: limit})
	if got.BytesOut != limit || sum(got.PerSecond) != limit {
		t.Errorf("%d bytes out, %v in the seconds, want %d", got.BytesOut, got.PerSecond, limit)
	}
	all := <-received
	if len(all) != limit || !matches(all, 0, true) {
		t.Errorf("%d bytes were received, want the first %d of the pattern", len(all), limit)
	}
}

func TestBulkWithTheOrigin(t *testing.T) {
	const limit = 8 << 20
	for _, work := range []struct{ client, origin string }{{Send, Sink}, {Receive, Source}} {
		for _, verify := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, verify %t", work.client, verify), func(t *testing.T) {
				testnet.SameFiles(t)
				target := startOrigin(t, OriginSpec{Work: work.origin, Verify: verify})
				got := runClient(t, ClientSpec{
					Target: []string{target}, Work: work.client, Connections: 3, Limit: limit, Verify: verify,
				})
				if n := got.BytesIn + got.BytesOut; n != limit || n != sum(got.PerSecond) {
					t.Errorf("%d bytes, %v in the seconds, want %d", n, got.PerSecond, limit)
				}
				if got.Failed != 0 {
					t.Errorf("failures: %v", got.Failures)
				}
			})
		}
	}
}

func TestReceivedBytesAreCounted(t *testing.T) {
	for _, verify := range []bool{false, true} {
		t.Run(fmt.Sprint(verify), func(t *testing.T) {
			const limit = 5 << 20
			target := startServer(t, func(conn testnet.Conn, _ int) {
				for position := uint64(0); ; {
					n, err := conn.Write(stretch(position, largestStretch))
					if err != nil {
						return
					}
					position += uint64(n)
				}
			})
			got := runClient(t, ClientSpec{
				Target: []string{target}, Work: Receive, Connections: 1, Limit: limit, Verify: verify,
			})
			if got.BytesIn != limit || got.BytesIn != sum(got.PerSecond) {
				t.Errorf("%d bytes in, want %d", got.BytesIn, limit)
			}
		})
	}
}

// A slow reader has its rate and no more, however fast the origin is.
func TestReadRate(t *testing.T) {
	testnet.SameFiles(t)
	target := startOrigin(t, OriginSpec{Work: Source})
	got := runClient(t, ClientSpec{Target: []string{target}, Work: Receive, Connections: 2, ReadRate: 1e5, Limit: 40_000})
	// 5,000 bytes per turn and connection: the fourth turn comes after three times 50 ms.
	if want := 3 * readTurn.Seconds(); got.Seconds < want {
		t.Errorf("%v s for %d bytes, at least %v s was due", got.Seconds, got.BytesIn, want)
	}
	if got.BytesIn != 40_000 {
		t.Errorf("%d bytes, want 40000", got.BytesIn)
	}
}

// The portions of a slow reader add up to its rate, also if a turn is no whole number of bytes.
func TestPortions(t *testing.T) {
	for _, rate := range []float64{1, 30, 1e5, 123_456.789} {
		w := &receiving{l: &clientLoop{run: &clientRun{spec: ClientSpec{ReadRate: rate}}, in: make([]byte, receiveBuffer)}}
		const rounds = 1000
		total := 0
		for round := range uint64(rounds) {
			total += w.portion(round)
		}
		if want := int(rate * readTurn.Seconds() * rounds); total != want {
			t.Errorf("%v bytes per second: %d in %d turns, want %d", rate, total, rounds, want)
		}
		if w.events() != edges {
			t.Errorf("%v bytes per second: events repeat for what is not read yet", rate)
		}
	}
}

func TestDurationAndWarmUp(t *testing.T) {
	var served atomic.Uint64
	target := startServer(t, func(conn testnet.Conn, _ int) {
		answer(conn, func(int, []byte) bool { served.Add(1); return true })
	})
	for _, rate := range []float64{0, 500} {
		served.Store(0)
		spec := smallRequests(target)
		spec.Rate, spec.WarmUp, spec.Duration = rate, 20*time.Millisecond, 50*time.Millisecond
		var opened, measuring []time.Time
		spec.Opened = func() { opened = append(opened, time.Now()) }
		spec.Measuring = func() { measuring = append(measuring, time.Now()) }
		got := runClient(t, spec)
		if len(opened) != 1 || len(measuring) != 1 {
			t.Fatalf("rate %v: %d times opened, %d times measuring, want each once", rate, len(opened), len(measuring))
		}
		if d := measuring[0].Sub(opened[0]); d < spec.WarmUp {
			t.Errorf("rate %v: a warm-up of %v took %v", rate, spec.WarmUp, d)
		}
		if got.Seconds != 0.05 {
			t.Errorf("rate %v: %v seconds, want 0.05", rate, got.Seconds)
		}
		if got.Operations != sum(got.PerSecond) || got.Operations > got.Latency.Count || got.Latency.Count > served.Load() {
			t.Errorf("rate %v: %d operations, %v in the seconds, %d latencies; %d were served",
				rate, got.Operations, got.PerSecond, got.Latency.Count, served.Load())
		}
		// 10 are due in the warm-up and 25 in the measured part.
		if n := served.Load(); rate > 0 && n != 35 {
			t.Errorf("rate %v: %d were served, want 35", rate, n)
		}
	}
}

// Operations that end in the warm-up or after the measured part do not count.
func TestMeasuredPart(t *testing.T) {
	const ms = int64(time.Millisecond)
	l := &clientLoop{record: newRecord(1), from: 100 * ms, until: 3000 * ms}
	l.answered(90*ms, 99*ms)
	l.unanswered(90*ms, 99*ms)
	l.late(90*ms, 99*ms)
	l.answered(90*ms, 100*ms)
	l.answered(100*ms, 2999*ms)
	l.answered(2999*ms, 3000*ms)
	l.unanswered(2000*ms, 4000*ms)
	l.late(99*ms, 101*ms)
	got := l.record.result()
	if got.Operations != 2 || !slices.Equal(got.PerSecond, []uint64{1, 0, 1}) {
		t.Errorf("%d operations, %v in the seconds, want 2, in the first and the third", got.Operations, got.PerSecond)
	}
	if got.Latency.Count != 4 || got.Unanswered != 1 || got.Late.Count != 1 {
		t.Errorf("%d latencies, %d unanswered, %d late, want 4, 1 and 1", got.Latency.Count, got.Unanswered, got.Late.Count)
	}
	if l.succeeded != 4 {
		t.Errorf("%d succeeded, want those of the warm-up too", l.succeeded)
	}
}

func TestCPUTimeIsOfTheMeasuredPart(t *testing.T) {
	target := startServer(t, func(conn testnet.Conn, _ int) { answer(conn, faultless) })
	spec := smallRequests(target)
	spec.Limit = 2000
	before := cpuTime()
	got := runClient(t, spec)
	if spent := (cpuTime() - before).Seconds(); got.CPUSeconds <= 0 || got.CPUSeconds > spent {
		t.Errorf("%v s of CPU time, the process had %v s", got.CPUSeconds, spent)
	}
}

func TestTargetsAndSourcesByTurns(t *testing.T) {
	for _, work := range []string{Request, Connection} {
		t.Run(work, func(t *testing.T) {
			var mu sync.Mutex
			met := make(map[string]int)
			address := startServer(t, func(conn testnet.Conn, _ int) {
				from, to := conn.RemoteAddr().(*net.TCPAddr).IP, conn.LocalAddr().(*net.TCPAddr).IP
				mu.Lock()
				met[fmt.Sprintf("%s to %s", from, to)]++
				mu.Unlock()
				answer(conn, func(n int, b []byte) bool {
					if work == Connection {
						_, _ = conn.Write(b)
					}
					return work == Request
				})
			})
			got := runClient(t, ClientSpec{
				Target: []string{address}, Sources: []string{"127.0.0.2", "127.0.0.3"}, Work: work,
				Connections: 8, RequestBytes: 1, ResponseBytes: 1, Limit: 8,
			})
			if got.Operations != 8 {
				t.Errorf("%d operations: %v", got.Operations, got.Failures)
			}
			want := map[string]int{"127.0.0.2 to 127.0.0.1": 4, "127.0.0.3 to 127.0.0.1": 4}
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, met); diff != "" {
				t.Errorf("connections (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEverySourceMeetsEveryTarget(t *testing.T) {
	e, err := newEndpoints(&ClientSpec{Target: []string{"127.0.0.1:1", "127.0.0.1:2"}, Sources: []string{"127.0.0.2", "127.0.0.3"}})
	if err != nil {
		t.Fatal(err)
	}
	type pair struct{ target, source int }
	var met []pair
	for turn := range uint64(5) {
		target, source := e.pair(turn)
		met = append(met, pair{int(target.Bytes()[3]), int(source.Bytes()[7])})
	}
	if want := []pair{{1, 2}, {2, 2}, {1, 3}, {2, 3}, {1, 2}}; !cmp.Equal(met, want, cmp.AllowUnexported(pair{})) {
		t.Errorf("pairs %v, want %v", met, want)
	}
	e, err = newEndpoints(&ClientSpec{Target: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, source := e.pair(3); source != nil {
		t.Error("there is a source where none was given")
	}
}

func TestAddresses(t *testing.T) {
	got, err := parseAddresses([]string{"127.0.0.1:258", "[::ffff:10.0.0.1]:1", "[::1]:2"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[0].Bytes()[2:8], []byte{1, 2, 127, 0, 0, 1}) {
		t.Errorf("127.0.0.1:258 is % x", got[0].Bytes())
	}
	if got[1].Family() != got[0].Family() {
		t.Error("an IPv4-mapped address is not taken for IPv4")
	}
	if got[2].Family() == got[0].Family() || got[2].Bytes()[23] != 1 {
		t.Errorf("[::1]:2 is % x", got[2].Bytes())
	}
	if addr := netip.MustParseAddrPort("[fe80::1%lo]:1"); addr.Addr().Zone() != "lo" {
		t.Fatal("no zone to be refused")
	}
	for _, bad := range []string{"", "localhost:1", "127.0.0.1", "[fe80::1%lo]:1"} {
		if _, err := parseAddresses([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCancel(t *testing.T) {
	for _, rate := range []float64{0, 1} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			testnet.SameFiles(t)
			target := startServer(t, func(conn testnet.Conn, _ int) { answer(conn, faultless) })
			ctx, cancel := context.WithCancel(bounded(t))
			spec := smallRequests(target)
			spec.Duration, spec.Rate, spec.Connections = time.Hour, rate, 3
			spec.Opened, spec.WarmUp = cancel, time.Hour
			spec.Measuring = func() { t.Error("it was never to measure") }
			result, err := RunClient(ctx, spec)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			if result.Seconds != 0 || result.Operations != 0 {
				t.Errorf("%+v, from a warm-up", result)
			}
		})
	}
}

// A target that never answers the handshake does not hold up the end.
func TestCancelWhileOpening(t *testing.T) {
	testnet.SameFiles(t)
	spec := smallRequests(testnet.Silent(t))
	spec.Duration, spec.Connections = time.Hour, 3
	spec.Opened = func() { t.Error("nothing is open") }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, work := range []string{Request, Send, Idle} {
		spec.Work = work
		if _, err := RunClient(ctx, spec); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v", work, err)
		}
	}
}
