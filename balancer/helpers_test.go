package balancer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"l4proxy/backend"
)

const second = int64(time.Second)

// newBackends returns one backend for each weight.
func newBackends(weights ...int) []*backend.Backend {
	backends := make([]*backend.Backend, len(weights))
	for i, w := range weights {
		backends[i] = &backend.Backend{
			Address: fmt.Sprintf("192.0.2.1:%d", i),
			Pool:    "test",
			Weight:  w,
			Index:   i,
		}
	}
	return backends
}

// equal returns n weights of 1.
func equal(n int) []int {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1
	}
	return weights
}

// policy is a Balancer as the tests of policies use it: they know no time but
// that of a pick, and nobody waits.
type policy struct{ *Balancer }

func (p policy) Pick(now int64, tried []*backend.Backend) *backend.Backend {
	b, _ := p.Balancer.Pick(Request{Now: now, Tried: tried})
	return b
}

func (p policy) OK(b *backend.Backend)                { p.Balancer.OK(b, 0) }
func (p policy) Failed(b *backend.Backend, now int64) { p.Balancer.Failed(b, now, now) }

func (p policy) Done(b *backend.Backend) { p.Balancer.Done(b, 0) }

// newPolicy returns the named policy over backends of these weights.
func newPolicy(t testing.TB, name string, weights ...int) (policy, []*backend.Backend) {
	t.Helper()
	return newPolicyWith(t, Options{Policy: name, Seed: 1}, newBackends(weights...))
}

// newPolicyWith is newPolicy with more to say.
func newPolicyWith(t testing.TB, o Options, backends []*backend.Backend) (policy, []*backend.Backend) {
	t.Helper()
	p, err := New(backends, o)
	if err != nil {
		t.Fatal(err)
	}
	return policy{p}, backends
}

// in reports whether b is one of tried.
func in(tried []*backend.Backend, b *backend.Backend) bool { return slices.Contains(tried, b) }

// eachPolicy runs f with every policy by name.
func eachPolicy(t *testing.T, f func(t *testing.T, name string)) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { f(t, name) })
	}
}

// order returns the indexes of the next n picks, which stay counted.
func order(p policy, now int64, n int) []int {
	var picks []int
	for range n {
		b := p.Pick(now, nil)
		if b == nil {
			return append(picks, -1)
		}
		picks = append(picks, b.Index)
	}
	return picks
}

// fails makes an attempt at b, picked before, fail.
func fails(p policy, b *backend.Backend, now int64) {
	p.Failed(b, now)
	p.Done(b)
}

// clientAt is the address of one of many clients.
func clientAt(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}
