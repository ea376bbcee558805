package bans

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

func filled(b *testing.B, n int) *Store {
	s := New(Options{})
	for entries := million(n); len(entries) > 0; {
		k := min(len(entries), 50_000)
		mustPut(b, s, entries[:k]...)
		entries = entries[k:]
	}
	return s
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		s := filled(b, n)
		entries := million(min(n, 10_000))
		now := s.Now()
		b.Run(fmt.Sprintf("banned/bans=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				s.Find(entries[i].Prefix.Addr(), now)
				if i++; i == len(entries) {
					i = 0
				}
			}
		})
		free := netip.MustParseAddr("240.0.0.1")
		b.Run(fmt.Sprintf("free/bans=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.Find(free, now)
			}
		})
	}
}

func BenchmarkPutOne(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		s := filled(b, n)
		b.Run(fmt.Sprintf("bans=%d", n), func(b *testing.B) {
			i := uint32(0)
			for b.Loop() {
				i++
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{230, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
				mustPut(b, s, Entry{Prefix: p, For: time.Hour})
			}
		})
	}
}

// BenchmarkMillion reports what a million bans cost: memory, a snapshot for an upgrade, and reading
// that.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		entries := million(1_000_000)
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := New(Options{})
		began := time.Now()
		mustPut(b, s, entries...)
		b.ReportMetric(time.Since(began).Seconds(), "s-put")
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Len()), "B/ban")
		began = time.Now()
		snapshot := s.Snapshot()
		b.ReportMetric(time.Since(began).Seconds(), "s-snapshot")
		b.ReportMetric(float64(len(snapshot))/float64(s.Len()), "B-file/ban")
		next := New(Options{})
		began = time.Now()
		if _, err := next.TakeOver(snapshot); err != nil || next.Len() != s.Len() {
			b.Fatal(err, next.Len())
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-takeover")
		began = time.Now()
		if p := s.List(Query{Limit: 100}); len(p.Bans) != 100 {
			b.Fatal("no page")
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-page")
		runtime.KeepAlive(entries)
	}
}
