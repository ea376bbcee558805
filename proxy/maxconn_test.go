package proxy_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"l4proxy/internal/testnet"
)

// crowded is a backend that records the most connections that it had at once. A connection counts
// until the handler has read its end, which is before the proxy can know of it.
type crowded struct {
	*testnet.Backend
	open, most atomic.Int64
}

func serveCrowded(t *testing.T, handle func(testnet.Conn)) *crowded {
	t.Helper()
	b := new(crowded)
	b.Backend = testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
		n := b.open.Add(1)
		defer b.open.Add(-1)
		for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
		}
		handle(c)
	})
	return b
}

// TestBackendLimitHolds: many clients come at once, on several loops, repeatedly, while others
// leave. No backend ever has more connections than its max_connections. With a queue, each client
// is served.
func TestBackendLimitHolds(t *testing.T) {
	const most, clients, visits = 3, 48, 6
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name   string
			queue  int
			least  int64              // connections that a backend must have had at once
			handle func(testnet.Conn) // decides which side ends first
		}{
			{"no_queue", 0, 1, testnet.Echo},
			{"queue", clients, most, testnet.Echo},
			{"queue_backend_ends", clients, 1, func(c testnet.Conn) {
				p := make([]byte, 5)
				n, _ := c.Read(p)
				_, _ = c.Write(p[:n])
			}},
		} {
			t.Run(test.name, func(t *testing.T) {
				b1, b2 := serveCrowded(t, test.handle), serveCrowded(t, test.handle)
				r := start(t, engine, addresses(b1.Backend, b2.Backend), queueing(most, test.queue, testnet.Patience),
					func(s *setup) { s.options.Workers = 4 })
				var served atomic.Int64
				var all sync.WaitGroup
				start := make(chan struct{})
				for range clients {
					all.Go(func() {
						<-start
						for range visits {
							c, err := testnet.TryDial("tcp", r.addr)
							if err != nil {
								t.Error(err)
								return
							}
							if got, err := ask(c, "hello"); err == nil && got == "hello" {
								served.Add(1)
							} else if test.queue > 0 {
								t.Errorf("echo = %q, %v", got, err)
							}
							c.Close()
						}
					})
				}
				close(start)
				all.Wait()
				if n := served.Load(); n == 0 || test.queue > 0 && n != clients*visits {
					t.Errorf("%d of %d clients were served", n, clients*visits)
				}
				r.ended(clients * visits)
				for i, b := range []*crowded{b1, b2} {
					if n := b.most.Load(); n > most || n < test.least {
						t.Errorf("backend %d has had %d connections at once, max_connections is %d", i, n, most)
					}
					if n := r.pool.Balancer.Members()[i].Active(); n != 0 {
						t.Errorf("%d connections are counted on backend %d after the last", n, i)
					}
				}
			})
		}
	})
}
