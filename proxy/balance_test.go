package proxy_test

import (
	"fmt"
	"testing"

	"l4proxy/internal/testnet"
)

// TestLeastConnections opens and closes long connections one after another: the distribution is
// exact.
func TestLeastConnections(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			weights, want []int
		}{
			{[]int{1, 1, 1}, []int{12, 12, 12}},
			{[]int{1, 2, 3}, []int{6, 12, 18}},
		} {
			t.Run(fmt.Sprint(test.weights), func(t *testing.T) {
				var backends []*testnet.Backend
				for range test.weights {
					backends = append(backends, testnet.Serve(t, "tcp", "", testnet.Echo))
				}
				r := start(t, engine, addresses(backends...), func(s *setup) { s.weights = test.weights })
				active := func() (all []int) {
					for _, b := range r.pool.Balancer.Members() {
						all = append(all, int(b.Active()))
					}
					return all
				}
				open := func(n int) (clients []testnet.Conn) {
					for range n {
						c := r.dial()
						mustAsk(t, c, "hello")
						clients = append(clients, c)
					}
					return clients
				}
				clients := open(36)
				if got := fmt.Sprint(active()); got != fmt.Sprint(test.want) {
					t.Errorf("connections = %v, want %v", got, test.want)
				}
				// Backends that have become emptier get the next connections.
				for _, c := range clients[:9] {
					c.Close()
				}
				r.ended(9)
				open(9)
				if got := fmt.Sprint(active()); got != fmt.Sprint(test.want) {
					t.Errorf("connections = %v after 9 were replaced, want %v", got, test.want)
				}
				for i, b := range backends {
					if b.Accepted() < test.want[i] {
						t.Errorf("backend %d has accepted %d", i, b.Accepted())
					}
				}
			})
		}
	})
}

// TestSpread opens 64 long connections: no loop has twice as many as another.
func TestSpread(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for _, workers := range []int{2, 4} {
			t.Run(fmt.Sprint(workers), func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(b), func(s *setup) { s.options.Workers = workers })
				for range 64 {
					mustAsk(t, r.dial(), "hello")
				}
				least, most, sum := int64(64), int64(0), int64(0)
				for _, n := range r.server.Loads() {
					least, most, sum = min(least, n), max(most, n), sum+n
				}
				if sum != 64 || most >= 2*least {
					t.Errorf("connections on the loops: %v", r.server.Loads())
				}
			})
		}
	})
}
