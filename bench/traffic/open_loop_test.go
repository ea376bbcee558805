package traffic

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// holdOne serves like answer, but delays the very first response by hold.
func holdOne(t *testing.T, hold time.Duration, once bool) string {
	var first atomic.Bool
	return startServer(t, func(conn testnet.Conn, _ int) {
		answer(conn, func(_ int, b []byte) bool {
			if first.CompareAndSwap(false, true) {
				<-time.After(hold)
			}
			if once {
				_, _ = conn.Write(b)
			}
			return !once
		})
	})
}

// Requests that are due while a response is held back count from when they were due, not from when
// they could be sent.
func TestStallCountsForWhoWaitedBehindIt(t *testing.T) {
	const hold = 100 * time.Millisecond
	for _, work := range []string{Request, Connection} {
		t.Run(work, func(t *testing.T) {
			spec := smallRequests(holdOne(t, hold, work == Connection))
			spec.Work, spec.Rate, spec.Limit = work, 1000, 50
			got := runClient(t, spec)
			if got.Operations != 50 || got.Latency.Count != 50 {
				t.Fatalf("%d operations, %d latencies: %v", got.Operations, got.Latency.Count, got.Failures)
			}
			// Operation k was due after k ms, and none could end before the hold did. Histograms
			// are good to 0.1 %.
			if got.Latency.Max < 99 || got.Latency.P50 < 99-25 {
				t.Errorf("a stall of %v shows as %+v", hold, got.Latency)
			}
			// Only the first one found a free connection.
			if got.Late.Count != 1 {
				t.Errorf("%d operations count as begun late by the client, want only the first one", got.Late.Count)
			}
		})
	}
}

// The same stall in a closed loop is only one slow answer, which is why there is an open loop.
func TestClosedLoopOmitsWhatItDidNotAsk(t *testing.T) {
	spec := smallRequests(holdOne(t, 100*time.Millisecond, false))
	spec.Limit = 50
	got := runClient(t, spec)
	if got.Latency.Max < 99 || got.Latency.P50 > 50 {
		t.Errorf("one slow answer of 50 shows as %+v", got.Latency)
	}
	if got.Late.Count != 0 {
		t.Errorf("%d late operations without any times intended", got.Late.Count)
	}
}

// Other connections continue while one waits, and it catches up afterwards: here its response comes
// when the others have had all of theirs.
func TestStallHoldsUpItsConnectionOnly(t *testing.T) {
	const all, connections = 50, 10
	var first atomic.Bool
	var others atomic.Int32
	release := make(chan struct{})
	target := startServer(t, func(conn testnet.Conn, _ int) {
		held := false
		answer(conn, func(int, []byte) bool {
			if first.CompareAndSwap(false, true) {
				held = true
				await(t, release)
			} else if !held && others.Add(1) == all-all/connections {
				close(release)
			}
			return true
		})
	})
	spec := smallRequests(target)
	spec.Rate, spec.Limit, spec.Connections = 1000, all, connections
	got := runClient(t, spec)
	// The last one of the others was due after 49 ms, and the held one at the start.
	if got.Operations != all || got.Latency.Max < 45 {
		t.Errorf("%d operations, latencies %+v", got.Operations, got.Latency)
	}
}

// What was due and has no answer at the end counts with the time that it has waited.
func TestUnanswered(t *testing.T) {
	mute := startServer(t, func(conn testnet.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
	for _, test := range []struct {
		work   string
		rate   float64
		want   uint64
		waited float64 // ms, at least, the first of them
	}{
		{Request, 100, 5, 80}, // due after 0, 10, 20, 30 and 40 ms
		{Connection, 100, 5, 80},
		{Request, 0, 1, 30}, // begun in the 50 ms
		{Connection, 0, 1, 30},
	} {
		t.Run(fmt.Sprintf("%s, rate %v", test.work, test.rate), func(t *testing.T) {
			testnet.SameFiles(t)
			spec := smallRequests(mute)
			spec.Work, spec.Rate, spec.Duration = test.work, test.rate, 50*time.Millisecond
			r, err := newClientRun(spec)
			if err != nil {
				t.Fatal(err)
			}
			r.drain = 30 * time.Millisecond
			got, err := r.run(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			if got.Unanswered != test.want || got.Latency.Count != test.want || got.Operations != 0 {
				t.Errorf("%d unanswered, %d latencies, %d operations; want %d, as many, and none",
					got.Unanswered, got.Latency.Count, got.Operations, test.want)
			}
			if got.Latency.Max < test.waited*0.999 {
				t.Errorf("%v ms without an answer show as %+v", test.waited, got.Latency)
			}
			if got.Seconds != 0.05 {
				t.Errorf("%v seconds were measured, want 0.05 without the wait after them", got.Seconds)
			}
		})
	}
}

// An operation that begins 50 ms late is the client's fault if the connection was free then.
func TestLateness(t *testing.T) {
	const late = 50 * time.Millisecond
	for _, test := range []struct {
		freeFor time.Duration
		want    uint64
	}{
		{late + 1, 1},
		{late / 2, 0},
	} {
		spec := smallRequests("127.0.0.1:1")
		spec.Rate, spec.Limit = 1, 1
		l, c, _ := idleLoop(t, spec)
		now := Now()
		l.begin = now - int64(late)
		l.from = l.begin
		c.freeSince = now - int64(test.freeFor)
		l.work.start()
		l.work.due(now)
		if c.state != busy {
			t.Fatal("what was due was not begun")
		}
		got := percentiles(l.record.late)
		if got.Count != test.want || test.want > 0 && got.Max < 50 {
			t.Errorf("free for %v when it begins %v late: %+v", test.freeFor, late, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	s := newSchedule(&ClientSpec{Rate: 4}, 1000)
	for k, want := range []int64{1000, 250_001_000, 500_001_000} {
		if got := s.at(uint64(k)); got != want {
			t.Errorf("operation %d is due at %d, want %d", k, got, want)
		}
	}
}

// The connections take operations 0, 1, 2... in turn, each of them once.
func TestRota(t *testing.T) {
	r := rota{conns: make([]conn, 5)}
	for i := range r.conns {
		r.conns[i].id = int32(i)
	}
	for want := range uint64(3 * len(r.conns)) {
		if k := r.operation(r.conn(), r.round); k != want {
			t.Errorf("operation %d in place of %d", k, want)
		}
		r.advance()
	}
}

func TestRateIsOfAllConnections(t *testing.T) {
	target := startOrigin(t, OriginSpec{Work: Request, RequestBytes: 1, ResponseBytes: 1})
	spec := smallRequests(target)
	spec.Rate, spec.Duration, spec.Connections = 1000, 100*time.Millisecond, 3
	got := runClient(t, spec)
	if n := got.Latency.Count; n != 100 {
		t.Errorf("%d operations in 100 ms at 1000 per second", n)
	}
	if got.Late.Count == 0 {
		t.Error("there are no figures of how late the client was")
	}
	// A cancelled run does not wait for the schedule.
	ctx, cancel := context.WithCancel(bounded(t))
	cancel()
	if _, err := RunClient(ctx, spec); err == nil {
		t.Error("a run with an ended context succeeded")
	}
}
