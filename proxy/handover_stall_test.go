package proxy_test

import (
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// stallRate is how many messages per second the clients send, at most.
const stallRate = 10_000

// TestHandOverStall moves many connections on which messages go back and forth, and measures how
// long the slowest answer of each took meanwhile.
func TestHandOverStall(t *testing.T) {
	connections, most := 200, 2*time.Second
	if n, err := strconv.Atoi(os.Getenv("L4PROXY_STALL")); err == nil {
		connections = n
	}
	enginePairs(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
		var stop, measure atomic.Bool
		var wg sync.WaitGroup
		slowest := make([]atomic.Int64, connections)
		clients := make([]testnet.Conn, connections)
		for i := range clients {
			clients[i] = one.dial()
			talk(t, clients[i], "hello")
		}
		pause := 20*time.Millisecond + time.Duration(connections)*time.Second/stallRate
		for i, c := range clients {
			_ = c.SetDeadline(time.Now().Add(testnet.Patience))
			wg.Go(func() {
				defer c.Close()
				message := []byte("ping")
				for !stop.Load() {
					began := time.Now()
					if _, err := c.Write(message); err != nil {
						t.Error(err)
						return
					}
					if _, err := c.Read(message); err != nil {
						t.Error(err)
						return
					}
					if measure.Load() {
						slowest[i].Store(max(slowest[i].Load(), int64(time.Since(began))))
					}
					time.Sleep(pause)
				}
			})
		}
		quantiles := func() (p50, p99, max time.Duration) {
			var sorted []time.Duration
			for i := range slowest {
				sorted = append(sorted, time.Duration(slowest[i].Swap(0)))
			}
			slices.Sort(sorted)
			return sorted[len(sorted)/2], sorted[len(sorted)*99/100], sorted[len(sorted)-1]
		}
		measure.Store(true)
		time.Sleep(200 * time.Millisecond)
		p50, p99, longest := quantiles()
		t.Logf("before: slowest answer per connection p50 %v, p99 %v, max %v", p50, p99, longest)
		began := time.Now()
		report := one.handOver(two)
		took := time.Since(began)
		time.Sleep(50 * time.Millisecond)
		stop.Store(true)
		wg.Wait()
		p50, p99, longest = quantiles()
		t.Logf("%d connections in %v, %d batches; stood still p50 %v, p99 %v, max %v; slowest answer p50 %v, p99 %v, max %v",
			report.Moved, took, report.Batches, report.Median, report.P99, report.Longest, p50, p99, longest)
		if report.Moved != connections || longest > most {
			t.Errorf("%d of %d moved, the slowest answer took %v", report.Moved, connections, longest)
		}
	})
}
