package proxy_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// counting writes a stream until the deadline and counts what was taken.
func counting(c testnet.Conn, s testnet.Stream, limit time.Duration, taken *atomic.Int64) {
	_ = c.SetWriteDeadline(time.Now().Add(limit))
	for {
		n, err := c.Write(s.Piece(taken.Load(), 32<<10))
		taken.Add(int64(n))
		if err != nil {
			_ = c.SetWriteDeadline(time.Now().Add(testnet.Patience))
			return
		}
	}
}

// TestSlowReader has a reader stop: its sender is held back, and when it reads again, it gets every byte.
func TestSlowReader(t *testing.T) {
	const s = testnet.Stream(10)
	engines(t, func(t *testing.T, engine string) {
		for i, slow := range sides {
			t.Run(slow.String(), func(t *testing.T) {
				r, fast, slow := pair(t, engine, sides[1-i])
				_ = slow.SetReadBuffer(64 << 10)
				_ = fast.SetWriteBuffer(64 << 10)
				var taken atomic.Int64
				counting(fast, s, 200*time.Millisecond, &taken)
				// What the proxy holds itself is one pipe of 256 KiB; the rest are the kernel's socket buffers.
				if got := taken.Load(); got > 16<<20 {
					t.Errorf("%d bytes were taken for a reader that does not read", got)
				}
				_ = fast.CloseWrite()
				if err := s.CheckExactly(slow, taken.Load(), 65536, 100); err != nil {
					t.Error(err)
				}
				slow.Close()
				in, out := inOut(sides[1-i], taken.Load(), 0)
				record := r.ended(1)[0]
				r.expect(record, record.Side, record.Reason, in, out)
			})
		}
	})
}

// TestSlowReadersAndOthers has more readers stuck than there are pipes and buffers to begin with: others go on at full
// speed.
func TestSlowReadersAndOthers(t *testing.T) {
	const s, stuck = testnet.Stream(11), 150
	engines(t, func(t *testing.T, engine string) {
		var taken atomic.Int64
		var full sync.WaitGroup
		full.Add(stuck)
		endless := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			var mine atomic.Int64
			_ = c.SetWriteBuffer(16 << 10)
			counting(c, s, 300*time.Millisecond, &mine)
			taken.Add(mine.Load())
			full.Done()
			_, _ = c.Read(make([]byte, 1)) // until the proxy has gone
		})
		r := start(t, engine, addresses(endless))
		for range stuck {
			c := r.dial()
			_ = c.SetReadBuffer(4 << 10)
		}
		full.Wait()
		if got := taken.Load() / stuck; got > 12<<20 {
			t.Errorf("%d bytes a connection were taken for readers that do not read", got)
		}
		b := testnet.Listen(t, "tcp", "")
		addr, err := sockaddr(b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		// The same loops and the same pool of pipes serve the others: only the backend's address is another one.
		*r.pool.Addrs[0] = *addr
		began := time.Now()
		size := largest() / 16
		transfer(t, r, b, size, size, []int{65537}, []int{65536})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("beside slow readers, 2 times %d bytes took %v", size, took)
		}
	})
}
