package proxy_test

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/bandwidth"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// atMost limits one kind, in bytes per second; 0 is no limit.
func atMost(kind bandwidth.Kind, in, out int64) func(*setup) {
	return func(s *setup) {
		s.listener.Bandwidth.IPv4, s.listener.Bandwidth.IPv6 = 32, 64
		s.listener.Bandwidth.Rates[kind] = [bandwidth.Directions]int64{in, out}
	}
}

// endless sends until the connection ends.
func endless(c testnet.Conn) {
	for p := make([]byte, 64<<10); ; {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

// A drain counts what it receives.
type drain struct {
	testnet.Conn
	bytes atomic.Int64
}

// drains receives on connections until the test ends.
func drains(t *testing.T, conns ...testnet.Conn) []*drain {
	var all []*drain
	var ended sync.WaitGroup
	for _, c := range conns {
		d := &drain{Conn: c}
		all = append(all, d)
		ended.Go(func() {
			p := make([]byte, 64<<10)
			for {
				n, err := c.Read(p)
				d.bytes.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		ended.Wait()
	})
	return all
}

// rates are the bytes per second that each drain receives in a time.
func rates(all []*drain, over time.Duration) (each []float64, sum float64) {
	before := make([]int64, len(all))
	began := time.Now()
	for i, d := range all {
		before[i] = d.bytes.Load()
	}
	<-time.After(over)
	took := time.Since(began).Seconds()
	for i, d := range all {
		each = append(each, float64(d.bytes.Load()-before[i])/took)
		sum += each[i]
	}
	return each, sum
}

// near leaves room for a busy machine, on which a loop may be too late to use what a limit allows.
// The package bandwidth and TestFaultBandwidth are stricter.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < want*0.6 || got > want*1.4 {
		t.Errorf("%s: %.0f bytes/s, want about %.0f", what, got, want)
	}
}

// TestBandwidthIsShared: bulk connections that share a limit get equal parts of it, whatever loop
// they are on, and a connection that moves little is served soon.
func TestBandwidthIsShared(t *testing.T) {
	const rate = 4e5
	enginesTogether(t, func(t *testing.T, engine string) {
		bulk := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			wish := make([]byte, 1)
			if _, err := io.ReadFull(c, wish); err == nil && wish[0] == 'b' {
				endless(c)
				return
			}
			testnet.Echo(c)
		})
		r := start(t, engine, addresses(bulk), atMost(bandwidth.Total, 0, rate))
		var conns []testnet.Conn
		for range 4 {
			c := r.dial()
			if _, err := io.WriteString(c, "b"); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		all := drains(t, conns...)
		light := r.dial()
		if _, err := io.WriteString(light, "e"); err != nil {
			t.Fatal(err)
		}
		rates(all, 300*time.Millisecond) // what the first burst has let through
		slowest := time.Duration(0)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			for range 10 {
				began := time.Now()
				if _, err := io.WriteString(light, "ping"); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(light, make([]byte, 4)); err != nil {
					t.Error(err)
				}
				slowest = max(slowest, time.Since(began))
			}
		}()
		each, sum := rates(all, time.Second)
		near(t, "all connections", sum, rate)
		for _, got := range each {
			near(t, "a connection", got, rate/4)
		}
		<-answered
		if slowest > 200*time.Millisecond {
			t.Errorf("beside bulk, an answer of 4 bytes took %v", slowest)
		}
		if w := r.server.Counts().Listeners[0].BandwidthWaits(bandwidth.Out, bandwidth.Total); w.N == 0 || w.Time < time.Second {
			t.Errorf("waits for the limit are counted as %v", w)
		}
	})
}

// TestBandwidthPerClient: a client has its rate however many connections it opens, and in each
// direction.
func TestBandwidthPerClient(t *testing.T) {
	const rate = 2e5
	enginesTogether(t, func(t *testing.T, engine string) {
		var sinks sync.Map
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			from := make([]byte, 1)
			if _, err := io.ReadFull(c, from); err != nil {
				return
			}
			mine, _ := sinks.LoadOrStore(from[0], new(atomic.Int64))
			go endless(c)
			p := make([]byte, 64<<10)
			for {
				n, err := c.Read(p)
				mine.(*atomic.Int64).Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		r := start(t, engine, addresses(b), atMost(bandwidth.Client, rate/2, rate))
		var conns []testnet.Conn
		var sending sync.WaitGroup
		for i, from := range []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"} {
			c := testnet.DialFrom(t, from, r.addr)
			if _, err := c.Write([]byte{"aaab"[i]}); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			sending.Go(func() { endless(c) })
		}
		t.Cleanup(sending.Wait)
		all := drains(t, conns...)
		received := func(from byte) int64 {
			n, _ := sinks.LoadOrStore(from, new(atomic.Int64))
			return n.(*atomic.Int64).Load()
		}
		rates(all, 300*time.Millisecond)
		began, a, other := time.Now(), received('a'), received('b')
		each, _ := rates(all, time.Second)
		took := time.Since(began).Seconds()
		near(t, "one client with three connections", each[0]+each[1]+each[2], rate)
		near(t, "one client with one", each[3], rate)
		near(t, "sent by the first client", float64(received('a')-a)/took, rate/2)
		near(t, "sent by the other client", float64(received('b')-other)/took, rate/2)
	})
}

// TestBandwidthBytes: under limits of all kinds in both directions, every byte arrives, and then
// the end of each stream.
func TestBandwidthBytes(t *testing.T) {
	const size = 1_200_001
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, network := range []string{"tcp", "unix"} {
			address := ""
			if network == "unix" {
				address = t.TempDir() + "/b"
			}
			b := testnet.Listen(t, network, address)
			r := start(t, engine, addresses(b), atMost(bandwidth.Connection, 4e6, 3e6), atMost(bandwidth.Client, 5e6, 5e6),
				atMost(bandwidth.Total, 6e6, 6e6))
			began := time.Now()
			transfer(t, r, b, size, size, []int{1, 70_000, 333}, []int{4096, 65536})
			if took := time.Since(began); took < 150*time.Millisecond {
				t.Errorf("%d bytes passed a limit of 3 MB/s in %v", size, took)
			}
			r.expect(r.ended(1)[0], r.ended(1)[0].Side, proxy.ReasonClosed, size, size)
		}
	})
}

// TestBandwidthAndReset: a reset comes after the bytes that were sent before it.
func TestBandwidthAndReset(t *testing.T) {
	const size = 300_000
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			_ = testnet.Stream(1).Send(c, size, 65536)
			testnet.Eventually(t, "all bytes have left", func() bool { return testnet.Unacknowledged(t, c) == 0 })
			_ = testnet.Reset(c)
		})
		r := start(t, engine, addresses(b), atMost(bandwidth.Connection, 0, 1e6))
		n, err := testnet.Stream(1).Check(r.dial(), 4096)
		if n != size || !testnet.IsReset(err) {
			t.Errorf("received %d bytes of %d, then %v", n, size, err)
		}
		r.endedOne(proxy.SideBackend, proxy.ReasonReset, 0, size)
	})
}

// TestPacedConnectionIsNotIdle: its bytes wait longer than the idle timeout. It can still be killed
// at once.
func TestPacedConnectionIsNotIdle(t *testing.T) {
	const conns, idle = 12, 4 * limit
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", endless)
		// One quantum of 500 bytes every 62 ms, so each has its turn after 750 ms.
		r := start(t, engine, addresses(b), atMost(bandwidth.Total, 0, 8000), func(s *setup) { s.listener.Idle = idle })
		var all []testnet.Conn
		for range conns {
			all = append(all, r.dial())
		}
		received := drains(t, all...)
		testnet.Eventually(t, "each connection has had two turns", func() bool {
			return !slices.ContainsFunc(received, func(d *drain) bool { return d.bytes.Load() < 1000 })
		})
		if ended := r.records.all(); len(ended) > 0 {
			t.Errorf("a connection has ended: %v", ended[0].Outcome)
		}
		began := time.Now()
		r.kill(conns, proxy.ConnFilter{})
		if took := time.Since(began); took > testnet.Patience/4 {
			t.Errorf("killing connections that wait took %v", took)
		}
	})
}

// TestBandwidthChanges: a State with other limits applies to open connections, also to those that
// had none.
func TestBandwidthChanges(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", endless)
		r := start(t, engine, addresses(b))
		all := drains(t, r.dial())
		testnet.Eventually(t, "bytes flow", func() bool { return all[0].bytes.Load() > 10<<20 })
		apply := func(rate int64) {
			l := *r.state.Listeners[0]
			l.Bandwidth = bandwidth.Settings{IPv4: 32, IPv6: 64}
			l.Bandwidth.Rates[bandwidth.Connection][bandwidth.Out] = rate
			if err := r.server.Apply(&proxy.State{Listeners: []*proxy.Listener{&l}}, 0); err != nil {
				t.Fatal(err)
			}
		}
		apply(1e6)
		// What was on its way before is in the client's socket.
		testnet.Eventually(t, "the new limit", func() bool {
			_, sum := rates(all, 100*time.Millisecond)
			return sum < 3e6
		})
		_, sum := rates(all, 500*time.Millisecond)
		near(t, "with a limit", sum, 1e6)
		apply(0)
		testnet.Eventually(t, "no limit", func() bool {
			_, sum := rates(all, 100*time.Millisecond)
			return sum > 20e6
		})
	})
}

// TestBandwidthMovesAlong: a limited connection moves to another process, whose limits then apply,
// without losing a byte.
func TestBandwidthMovesAlong(t *testing.T) {
	const size = 1_000_000
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		old := start(t, engine, addresses(b), atMost(bandwidth.Total, 2e6, 2e6), func(s *setup) { s.options.Workers = 1 })
		next := start(t, engine, addresses(b), atMost(bandwidth.Total, 4e6, 4e6))
		c := old.dial()
		peer := b.Accept(t)
		const up, down = testnet.Stream(1), testnet.Stream(2)
		var wg sync.WaitGroup
		wg.Go(func() {
			both(t, func() error { return converse(c, up, size, down, size, []int{65536}, []int{65536}) },
				func() error { return converse(peer, down, size, up, size, []int{65536}, []int{65536}) })
		})
		testnet.Eventually(t, "bytes flow", func() bool {
			got := old.server.Counts().Listeners[0]
			return got.BytesIn > 300_000 && got.BytesOut > 300_000
		})
		if report := old.handOver(next); report.Moved != 1 {
			t.Errorf("hand-over: %+v", report)
		}
		wg.Wait()
		next.ended(1)
	})
}
