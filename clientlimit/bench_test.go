package clientlimit

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkConnection is what the limits cost a connection: one Take and one Release. Run it with
// -cpu 1,2 to see loops that share the tables.
func BenchmarkConnection(b *testing.B) {
	for _, bench := range []struct {
		name    string
		clients int
		limits  Limits
	}{
		{"OneClient", 1, Limits{Connections: 1 << 30, Rate: 1_000_000, Burst: 1_000_000}},
		{"10kClients", 10_000, Limits{Connections: 100, Rate: 50, Burst: 100}},
		{"1mClients", 1_000_000, Limits{Connections: 100, Rate: 50, Burst: 100}},
		{"OverConnections", 1, Limits{Connections: 1}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			l := newLimiter(perAddress, bench.limits)
			clients := make([]netip.Addr, bench.clients)
			for i := range clients {
				clients[i] = v6(uint64(i))
			}
			if bench.limits.Rate == 0 {
				l.Take(clients[0], 0)
			}
			start := time.Now()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				r := rand.New(rand.NewPCG(rand.Uint64(), 0))
				now := int64(time.Since(start)) + 1
				for n := 0; pb.Next(); n++ {
					if n%64 == 0 { // a loop reads the clock once per batch
						now = int64(time.Since(start)) + 1
					}
					client := clients[r.IntN(len(clients))]
					if v := l.Take(client, now); v == Counted || v == CountedUnrated {
						l.Release(client)
					}
				}
			})
		})
	}
}
