package faults

import (
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// bandwidthOver is how long a limit is measured.
const bandwidthOver = 10 * time.Second

// limited are connections of one client that share a limit. Each of them receives, or sends, as
// much as it can.
type limited struct {
	name     string
	listener string  // its settings
	want     float64 // bytes per second
	conns    int
	sends    bool
}

// TestFaultBandwidth holds each kind of limit against the bytes that have arrived in 10s: they are
// within 5 % of the limit in all, and within 10 % of its share for each connection. With -short, a
// share may be 20 % off: between two event loops, it is sometimes 12 % off, which is not explained.
func TestFaultBandwidth(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		var all sync.WaitGroup
		for _, l := range []limited{
			{"a connection", "    bandwidth: {out: 5MB/s}", 5e6, 1, false},
			{"a slow connection", "    bandwidth: {out: 20kB/s}", 20e3, 1, false},
			{"a connection that sends", "    bandwidth: {in: 8Mbit/s}", 1e6, 1, true},
			{"a client", "    per_client: {bandwidth: {out: 3MB/s}}", 3e6, 4, false},
			{"a listener", "    bandwidth: {total: {out: 10MB/s}}", 10e6, 8, false},
			{"a listener to which clients send", "    bandwidth: {total: {in: 1MiB/s}}", 1 << 20, 4, true},
		} {
			address := freeAddress(t, "127.0.0.1")
			var received counts
			b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
				wish := make([]byte, 1)
				switch _, err := io.ReadFull(c, wish); {
				case err != nil: // the client that run made
				case l.sends:
					received.count(c)
				default:
					sendForever(c)
				}
			})
			run(t, settings{engine: engine, backends: []string{b.Addr}, binds: []string{address}, noSocket: true, listener: l.listener})
			for range l.conns {
				c := testnet.Dial(t, "tcp", address)
				if _, err := io.WriteString(c, "x"); err != nil {
					t.Fatal(err)
				}
				if l.sends {
					go sendForever(c)
				} else {
					go received.count(c)
				}
			}
			all.Go(func() { l.check(t, &received) })
		}
		all.Wait()
	})
}

// check waits until the bytes flow, and compares them with the limit.
func (l *limited) check(t *testing.T, received *counts) {
	testnet.Eventually(t, l.name+" receives bytes", func() bool { return len(received.all()) == l.conns })
	before, began := received.all(), time.Now()
	<-time.After(bandwidthOver)
	after, took := received.all(), time.Since(began).Seconds()
	sum, off := 0.0, 0.1
	if testing.Short() {
		off = 0.2
	}
	for i := range after {
		rate := float64(after[i]-before[i]) / took
		sum += rate
		if share := l.want / float64(l.conns); math.Abs(rate-share) > off*share {
			t.Errorf("%s: connection %d has %.0f bytes/s, want %.0f", l.name, i, rate, share)
		}
	}
	t.Logf("%s: %.2f %% of the limit", l.name, 100*sum/l.want)
	if math.Abs(sum-l.want) > l.want/20 {
		t.Errorf("%s: %.0f bytes/s, want %.0f", l.name, sum, l.want)
	}
}

// counts count what connections receive.
type counts struct {
	mu  sync.Mutex
	got []*atomic.Int64
}

// count receives until the connection ends.
func (k *counts) count(c net.Conn) {
	p := make([]byte, 64<<10)
	n, err := c.Read(p)
	if err != nil {
		return
	}
	got := new(atomic.Int64)
	k.mu.Lock()
	k.got = append(k.got, got)
	k.mu.Unlock()
	for ; err == nil; n, err = c.Read(p) {
		got.Add(int64(n))
	}
}

// all are the counts of the connections that have received anything.
func (k *counts) all() []int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]int64, 0, len(k.got))
	for _, got := range k.got {
		all = append(all, got.Load())
	}
	return all
}

func sendForever(c net.Conn) {
	for p := make([]byte, 64<<10); ; {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}
