package proxy_test

import (
	"fmt"
	"sync"
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// Sizes around each limit: one segment, one buffer, one pipe.
var awkward = []int{1, 1447, 16383, 16384, 16385, 65537}

func largest() int64 {
	if underRace {
		return 8 << 20
	}
	return 256 << 20
}

// transfer sends in through the proxy to the backend and out back, both at once. Each side ends its
// stream when it is done. Every byte is compared.
func transfer(t *testing.T, r *running, b *testnet.Backend, in, out int64, writes, reads []int) {
	t.Helper()
	c := r.dial()
	const up, down = testnet.Stream(1), testnet.Stream(2)
	both(t, func() error {
		return converse(c, up, in, down, out, writes, reads)
	}, func() error {
		return converse(b.Accept(t), down, out, up, in, writes, reads)
	})
	c.Close()
}

// converse sends and ends one stream while it checks the other.
func converse(c testnet.Conn, send testnet.Stream, n int64, expect testnet.Stream, m int64, writes, reads []int) error {
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		err := send.Send(c, n, writes...)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	if err := expect.CheckExactly(c, m, reads...); err != nil {
		<-sent
		return fmt.Errorf("receiving: %w", err)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

func TestBytes(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		for _, size := range []int64{0, 1, 1447, 16383, 16384, 16385, 65535, 65537, 1<<20 + 1} {
			for _, piece := range awkward {
				if size/int64(piece) > 10000 {
					continue
				}
				t.Run(fmt.Sprintf("%d_in_%d", size, piece), func(t *testing.T) {
					r := start(t, engine, addresses(b))
					transfer(t, r, b, size, size, []int{piece}, []int{4096, 65536})
					r.ended(1)
					r.expect(r.ended(1)[0], r.ended(1)[0].Side, proxy.ReasonClosed, size, size)
				})
			}
		}
	})
}

func TestBulk(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name          string
			in, out       int64
			writes, reads []int
		}{
			{"up", largest(), 0, []int{65537, 1 << 20, 1}, []int{1 << 20}},
			{"down", 0, largest(), []int{1 << 20}, []int{16385, 1, 65536}},
			{"both", largest() / 4, largest() / 4, awkward, []int{65537, 333, 16384}},
			{"both_unequal", largest() / 16, largest() / 4, []int{16384, 1447}, []int{1 << 18}},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(b))
				transfer(t, r, b, test.in, test.out, test.writes, test.reads)
				record := r.ended(1)[0]
				r.expect(record, record.Side, proxy.ReasonClosed, test.in, test.out)
			})
		}
	})
}

// TestManyAtOnce: 1,000 connections carry a stream of their own in each direction.
func TestManyAtOnce(t *testing.T) {
	many, size := 1000, int64(100_003)
	if underRace {
		many, size = 200, 40_001
	}
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		// All are connected before the first byte is sent.
		clients := make([]testnet.Conn, many)
		for i := range clients {
			clients[i] = r.dial()
		}
		testnet.Eventually(t, "all connected", func() bool { return b.Accepted() == many })
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() {
				s := testnet.Stream(i)
				if err := converse(c, s, size, s, size, []int{16385, 1447, 1}, []int{4096}); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for _, record := range r.ended(many) {
			r.expect(record, proxy.SideClient, proxy.ReasonClosed, size, size)
		}
	})
}
