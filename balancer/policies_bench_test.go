package balancer

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
)

// benchmarked are the policies, and source_hash with a bound.
func benchmarked(f func(name string, o Options)) {
	for _, name := range Names() {
		f(name, Options{Policy: name, Seed: 1})
		if name == "source_hash" {
			f("source_hash_bounded", Options{Policy: name, Seed: 1, MaxLoad: 125})
		}
	}
}

// client returns one of 2^32 different addresses.
func client(i uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], i*0x9e3779b1)
	return netip.AddrFrom4(a)
}

// BenchmarkPickAndDone times a connection: its pick, the hash of its client's address included, and
// its end, with one more open on each backend. The clients are a thousand that return, or each is
// new.
//
// With 10,000 backends and new clients it shows the memory rather than the policy: the backends,
// and the tables of maglev and source_hash, are larger than a processor's own cache, and each pick
// goes to other parts of them.
func BenchmarkPickAndDone(b *testing.B) {
	for _, n := range []int{2, 100, 10_000} {
		for _, clients := range []struct {
			are  string
			many uint32
		}{{"returning", 1000}, {"new", math.MaxUint32}} {
			benchmarked(func(name string, o Options) {
				b.Run(fmt.Sprintf("%s/backends=%d/clients=%s", name, n, clients.are), func(b *testing.B) {
					members := newMembers(equal(n)...)
					for _, m := range members {
						m.Acquire()
					}
					p, _ := newPolicyWith(b, o, members)
					b.ReportAllocs()
					c := uint32(0)
					for b.Loop() {
						picked, _ := p.Balancer.Pick(Request{Client: client(c % clients.many)})
						p.Done(picked)
						c++
					}
				})
			})
		}
	}
}

// BenchmarkNew times the building of a pool.
func BenchmarkNew(b *testing.B) {
	for _, n := range []int{2, 10_000} {
		benchmarked(func(name string, o Options) {
			b.Run(fmt.Sprintf("%s/backends=%d", name, n), func(b *testing.B) {
				members := newMembers(equal(n)...)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := New(members, o); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkClientKey(b *testing.B) {
	seed := hashSeed("secret")
	addr := netip.MustParseAddr("2001:db8::1")
	b.ReportAllocs()
	for b.Loop() {
		clientKey(addr, seed)
	}
}
