package proxy_test

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// counting writes a stream until the deadline and counts the bytes that were accepted.
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

// TestSlowReader: a reader stops, and its sender is held back. When it reads again, it gets every
// byte.
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
				// The proxy itself holds one pipe of 256 KiB; the kernel's socket buffers hold the
				// rest.
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

// TestSlowReadersAndOthers: more readers are stuck than there are pipes and buffers at first. Other
// clients continue at full speed.
func TestSlowReadersAndOthers(t *testing.T) {
	const s, stuck = testnet.Stream(11), 150
	engines(t, func(t *testing.T, engine string) {
		var taken atomic.Int64
		var full sync.WaitGroup
		full.Add(stuck)
		// The first byte selects an endless stream or an echo.
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			wish := make([]byte, 1)
			if _, err := io.ReadFull(c, wish); err != nil {
				return
			}
			if wish[0] == 'e' {
				testnet.Echo(c)
				return
			}
			var mine atomic.Int64
			_ = c.SetWriteBuffer(16 << 10)
			counting(c, s, 300*time.Millisecond, &mine)
			taken.Add(mine.Load())
			full.Done()
			_, _ = c.Read(wish) // until the proxy has gone
		})
		r := start(t, engine, addresses(b))
		dial := func(wish string) testnet.Conn {
			c := r.dial()
			if _, err := io.WriteString(c, wish); err != nil {
				t.Fatal(err)
			}
			return c
		}
		for range stuck {
			_ = dial("s").SetReadBuffer(4 << 10)
		}
		full.Wait()
		if got := taken.Load() / stuck; got > 12<<20 {
			t.Errorf("%d bytes a connection were taken for readers that do not read", got)
		}
		began := time.Now()
		size := largest() / 16
		if err := converse(dial("e"), s, size, s, size, []int{65537}, []int{65536}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("beside slow readers, 2 times %d bytes took %v", size, took)
		}
	})
}
