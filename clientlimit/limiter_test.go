package clientlimit

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const second = int64(time.Second)

var perAddress = Prefixes{IPv4: 32, IPv6: 64}

func newLimiter(p Prefixes, limits Limits) *Limiter {
	l := New(p)
	l.SetLimits(limits)
	return l
}

// v6 is the address i of as many networks of 64 bits.
func v6(i uint64) netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(a[4:], uint32(i))
	binary.BigEndian.PutUint32(a[12:], uint32(i))
	return netip.AddrFrom16(a)
}

func v4(i uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, i))) }

func TestConnectionsAtOnce(t *testing.T) {
	l := newLimiter(perAddress, Limits{Connections: 2})
	one, other := v4(1), v4(2)
	for range 2 {
		if v := l.Take(one, 0); v != Counted {
			t.Fatalf("verdict %d within the limit", v)
		}
	}
	if v := l.Take(one, 0); v != OverConnections {
		t.Errorf("verdict %d over the limit", v)
	}
	if v := l.Take(other, 0); v != Counted {
		t.Errorf("verdict %d for another client", v)
	}
	l.Adopt(one)
	l.SetLimits(Limits{Connections: 3})
	if v := l.Take(one, 0); v != OverConnections {
		t.Errorf("verdict %d: the adopted connection does not count", v)
	}
	l.Release(one)
	if v := l.Take(one, 0); v != Counted {
		t.Errorf("verdict %d after a connection has ended", v)
	}
	if n := l.Clients(); n != 2 {
		t.Errorf("%d clients", n)
	}
}

func TestConnectionsBeforeALimitCount(t *testing.T) {
	l := New(perAddress)
	for range 5 {
		l.Take(v4(1), 0)
	}
	l.SetLimits(Limits{Connections: 5})
	if v := l.Take(v4(1), 0); v != OverConnections {
		t.Errorf("verdict %d", v)
	}
}

func TestClientIsItsPrefix(t *testing.T) {
	for _, tt := range []struct {
		prefixes Prefixes
		one, two string
		same     bool
	}{
		{perAddress, "192.0.2.1", "192.0.2.2", false},
		{perAddress, "192.0.2.1", "::ffff:192.0.2.1", true},
		{perAddress, "2001:db8::1", "2001:db8::ffff:1", true},
		{perAddress, "2001:db8::1", "2001:db8:0:1::1", false},
		{perAddress, "fe80::1%eth0", "fe80::1", true},
		{perAddress, "::", "0.0.0.0", false},
		{Prefixes{24, 48}, "192.0.2.1", "192.0.2.200", true},
		{Prefixes{24, 48}, "192.0.2.1", "192.0.3.1", false},
		{Prefixes{24, 48}, "2001:db8::1", "2001:db8:0:7::1", true},
		{Prefixes{32, 128}, "2001:db8::1", "2001:db8::2", false},
		{Prefixes{1, 1}, "1.0.0.1", "127.0.0.1", true},
		{Prefixes{1, 1}, "1.0.0.1", "128.0.0.1", false},
		{Prefixes{1, 1}, "1.0.0.1", "::1", false},
	} {
		l := newLimiter(tt.prefixes, Limits{Connections: 1})
		l.Take(netip.MustParseAddr(tt.one), 0)
		if same := l.Take(netip.MustParseAddr(tt.two), 0) == OverConnections; same != tt.same {
			t.Errorf("%v: %s and %s are one client: %v", tt.prefixes, tt.one, tt.two, same)
		}
	}
}

func TestRate(t *testing.T) {
	const burst, rate = 5, 10
	l := newLimiter(perAddress, Limits{Rate: rate, Burst: burst})
	now := 1000 * second
	admitted := func() (n int) {
		for l.Take(v4(1), now) == Counted {
			n++
		}
		return n
	}
	if n := admitted(); n != burst {
		t.Errorf("%d connections at once, want %d", n, burst)
	}
	if now += second / rate; admitted() != 1 {
		t.Error("not one more after the time for one")
	}
	if now += 3 * second / rate; admitted() != 3 {
		t.Error("not three more after the time for three")
	}
	if now += 100 * second; admitted() != burst {
		t.Error("a long pause does not give a burst")
	}
	if v := l.Take(v4(2), now); v != Counted {
		t.Errorf("verdict %d for another client", v)
	}
}

// TestRateOverTime: whenever a client tries, it gets what the rate and the burst allow, to the
// connection.
func TestRateOverTime(t *testing.T) {
	for _, rate := range []float64{1.0 / 3600, 0.5, 3, 50, 1_000_000} {
		l := newLimiter(perAddress, Limits{Rate: rate, Burst: 10})
		r := rand.New(rand.NewPCG(1, 0))
		interval := float64(second) / rate
		start, n := second, 0
		now := start
		for range 2000 {
			now += int64(interval * r.Float64() * 0.5) // twice as often as allowed
			if l.Take(v4(1), now) == Counted {
				n++
			}
		}
		if most := 10 + float64(now-start)/interval; float64(n) > most*1.001+1 || float64(n) < most*0.999-1 {
			t.Errorf("rate %g: %d connections, want %.0f", rate, n, most)
		}
	}
}

func TestRefusedConnectionsCostNothing(t *testing.T) {
	l := newLimiter(perAddress, Limits{Connections: 1, Rate: 1, Burst: 2})
	l.Take(v4(1), second)
	for range 100 {
		if v := l.Take(v4(1), second); v != OverConnections {
			t.Fatalf("verdict %d", v)
		}
	}
	l.Release(v4(1))
	if v := l.Take(v4(1), second); v != Counted {
		t.Errorf("verdict %d: refused connections count toward the rate", v)
	}
	l.Release(v4(1))
	for range 100 {
		if v := l.Take(v4(1), second); v != OverRate {
			t.Fatalf("verdict %d", v)
		}
	}
	if v := l.Take(v4(1), 2*second); v != Counted {
		t.Errorf("verdict %d: refused connections delay the next one", v)
	}
}

// TestAnotherRate: what a client owes under a slow rate does not keep it out under a fast one.
func TestAnotherRate(t *testing.T) {
	l := newLimiter(perAddress, Limits{Rate: 1.0 / 3600, Burst: 10})
	for range 10 {
		l.Take(v4(1), second)
	}
	l.SetLimits(Limits{Rate: 10, Burst: 10})
	if v := l.Take(v4(1), second); v != OverRate {
		t.Errorf("verdict %d at once", v)
	}
	if v := l.Take(v4(1), second+second/10); v != Counted {
		t.Errorf("verdict %d after the time for one connection", v)
	}
	l.SetLimits(Limits{})
	if v := l.Take(v4(1), second); v != Counted || l.Recent(second) != 0 {
		t.Errorf("verdict %d, %d recent clients without a rate", v, l.Recent(second))
	}
}

// TestCountsAreExact compares with a map, for any order of events.
func TestCountsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "limit")
		l := newLimiter(perAddress, Limits{Connections: most})
		// All in one shard, so that entries collide and move.
		var clients []netip.Addr
		for i := uint32(0); len(clients) < 40; i++ {
			if a := v4(i); l.hash(l.key(a))>>56 == 7 {
				clients = append(clients, a)
			}
		}
		held := make(map[netip.Addr]int)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				a := rapid.SampledFrom(clients).Draw(t, "client")
				want := most == 0 || held[a] < most
				if ok := l.Take(a, 0) == Counted; ok != want {
					t.Fatalf("taken: %v, with %d connections", ok, held[a])
				} else if ok {
					held[a]++
				}
			},
			"adopt": func(t *rapid.T) {
				a := rapid.SampledFrom(clients).Draw(t, "client")
				l.Adopt(a)
				held[a]++
			},
			"release": func(t *rapid.T) {
				a := rapid.SampledFrom(clients).Draw(t, "client")
				if held[a] == 0 {
					t.Skip("it has none")
				}
				l.Release(a)
				if held[a]--; held[a] == 0 {
					delete(held, a)
				}
			},
			"": func(t *rapid.T) {
				if n := l.Clients(); n != int64(len(held)) {
					t.Fatalf("%d clients, want %d", n, len(held))
				}
				for _, a := range clients {
					if u := l.Explain(a, 0); u.Connections != held[a] {
						t.Fatalf("%v has %d connections, want %d", a, u.Connections, held[a])
					}
				}
			},
		})
	})
}

func TestReleaseWithoutTakePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	newLimiter(perAddress, Limits{}).Release(v4(1))
}

// TestTablesShrink: after many clients, the tables are as small as before.
func TestTablesShrink(t *testing.T) {
	const clients = 100_000
	l := newLimiter(perAddress, Limits{Connections: 1})
	for i := range uint64(clients) {
		l.Take(v6(i), 0)
	}
	if n := l.Clients(); n != clients {
		t.Fatalf("%d clients", n)
	}
	for i := range uint64(clients) {
		if v := l.Take(v6(i), 0); v != OverConnections {
			t.Fatalf("client %d: verdict %d", i, v)
		}
		l.Release(v6(i))
	}
	l.eachShard(func(s *shard) {
		if len(s.counts.entries) > minCounts || s.counts.used != 0 {
			t.Errorf("%d entries, %d used", len(s.counts.entries), s.counts.used)
		}
	})
}

// TestLoopsShareTheTables: several loops take and release at the same time, and no client ever has
// more than it may.
func TestLoopsShareTheTables(t *testing.T) {
	const most, rounds = 3, 20_000
	l := newLimiter(perAddress, Limits{Connections: most})
	var held [4]struct {
		sync.Mutex
		n int
	}
	var loops sync.WaitGroup
	for seed := range uint64(4) {
		loops.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range rounds {
				i := r.IntN(len(held))
				if l.Take(v4(uint32(i)), 0) != Counted {
					continue
				}
				h := &held[i]
				h.Lock()
				if h.n++; h.n > most {
					t.Errorf("client %d has %d connections", i, h.n)
				}
				h.Unlock()
				h.Lock()
				h.n--
				h.Unlock()
				l.Release(v4(uint32(i)))
			}
		})
	}
	loops.Wait()
	if n := l.Clients(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestExplain(t *testing.T) {
	limits := Limits{Connections: 2, Rate: 1, Burst: 3}
	l := newLimiter(perAddress, limits)
	a := netip.MustParseAddr("2001:db8::1")
	check := func(connections, recent int, verdict Verdict) {
		t.Helper()
		want := Usage{netip.MustParsePrefix("2001:db8::/64"), connections, recent, limits, verdict}
		if u := l.Explain(a, second); u != want {
			t.Errorf("%+v\nwant %+v", u, want)
		}
	}
	check(0, 0, Counted)
	l.Take(a, second)
	check(1, 1, Counted)
	l.Take(a, second)
	check(2, 2, OverConnections)
	l.Release(a)
	l.Take(a, second)
	l.Release(a)
	check(1, 3, OverRate)
	if n := l.Recent(second); n != 1 {
		t.Errorf("%d recent clients", n)
	}
}
