package proxy_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// The proxy must not make either side wait for a delayed acknowledgement. A peer that writes twice
// with Nagle's algorithm on (RFC 896) sends the second part only when the first is acknowledged: up
// to 40 ms later if that is delayed.
func TestFirstExchangeOfPeersThatWriteTwice(t *testing.T) {
	const rounds = 9
	median := func(connect func() testnet.Conn, twice bool) time.Duration {
		var all []time.Duration
		for range rounds {
			c := connect()
			if err := c.(*net.TCPConn).SetNoDelay(false); err != nil {
				t.Fatal(err)
			}
			from := time.Now()
			request := []string{"request"}
			if twice {
				request = []string{"req", "uest"}
			}
			for _, part := range request {
				if _, err := io.WriteString(c, part); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(c, make([]byte, len("head body"))); err != nil {
				t.Fatal(err)
			}
			all = append(all, time.Since(from))
			c.Close()
		}
		slices.Sort(all)
		return all[rounds/2]
	}
	answer := func(c testnet.Conn) {
		if err := c.(*net.TCPConn).SetNoDelay(false); err != nil {
			return
		}
		if _, err := io.ReadFull(c, make([]byte, len("request"))); err != nil {
			return
		}
		_, _ = io.WriteString(c, "head ")
		_, _ = io.WriteString(c, "body")
		_, _ = io.Copy(io.Discard, c)
	}
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", answer)
		r := start(t, engine, addresses(b))
		for _, twice := range []bool{false, true} {
			direct := median(func() testnet.Conn { return testnet.Dial(t, "tcp", b.Addr) }, twice)
			proxied := median(r.dial, twice)
			const acknowledgement = 20 * time.Millisecond // half of the shortest delay of an acknowledgement
			if proxied > direct+acknowledgement {
				t.Errorf("client writes twice: %v: exchange takes %v, directly %v", twice, proxied, direct)
			}
		}
	})
}
