package balancer

import (
	"fmt"
	"testing"

	"l4proxy/backend"
)

// BenchmarkPick times Pick, OK and Done of one connection, with two open on each backend.
func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{2, 100, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/backends=%d", name, n), func(b *testing.B) {
				p, _ := newPolicy(b, name, equal(n)...)
				open := make([]*backend.Backend, 2*n)
				for i := range open {
					open[i] = p.Pick(0, nil)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					p.Done(open[i])
					open[i] = p.Pick(0, nil)
					p.OK(open[i])
					if i++; i == len(open) {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkPickParallel does the same from as many loops as there are CPUs, with no work between:
// the lock is contended as it never is by real connections.
func BenchmarkPickParallel(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{2, 100, 1_000, 10_000} {
			b.Run(fmt.Sprintf("%s/backends=%d", name, n), func(b *testing.B) {
				p, _ := newPolicy(b, name, equal(n)...)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						picked := p.Pick(0, nil)
						p.OK(picked)
						p.Done(picked)
					}
				})
			})
		}
	}
}

// BenchmarkPickHalfInBackoff has every other backend in backoff.
func BenchmarkPickHalfInBackoff(b *testing.B) {
	for _, name := range Names() {
		b.Run(name, func(b *testing.B) {
			p, backends := newPolicy(b, name, equal(1_000)...)
			for i := 0; i < len(backends); i += 2 {
				p.Failed(backends[i], 0)
			}
			for b.Loop() {
				picked := p.Pick(0, nil)
				p.OK(picked)
				p.Done(picked)
			}
		})
	}
}
