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

// newMembers returns one member for each weight.
func newMembers(weights ...int) []Member {
	members := make([]Member, len(weights))
	for i, w := range weights {
		members[i] = Member{Backend: &backend.Backend{Address: fmt.Sprintf("192.0.2.1:%d", i)}, Weight: w}
	}
	return members
}

// backendsOf returns the backends of members.
func backendsOf(members []Member) []*backend.Backend {
	backends := make([]*backend.Backend, len(members))
	for i, m := range members {
		backends[i] = m.Backend
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

// tested is a Balancer as the tests of policies use it: they know no time but that of a pick, and
// no client waits.
type tested struct {
	*Balancer
	indexes map[*backend.Backend]int
}

// index returns the index of b in the configuration.
func (p tested) index(b *backend.Backend) int { return p.indexes[b] }

// limit changes the most connections of b.
func (p tested) limit(b *backend.Backend, most int32) {
	m := p.members[b]
	m.MaxConnections = most
	m.tier.limited[m.index] = most > 0
	p.followsEnds.Store(p.endsMatter())
}

func (p tested) Pick(now int64, tried []*backend.Backend) *backend.Backend {
	b, _ := p.Balancer.Pick(Request{Now: now, Tried: tried})
	return b
}

func (p tested) OK(b *backend.Backend)                { p.Balancer.OK(b, 0) }
func (p tested) Failed(b *backend.Backend, now int64) { p.Balancer.Failed(b, now, now) }

func (p tested) Done(b *backend.Backend) { p.Balancer.Done(b, 0) }

// newPolicy returns the named policy over backends of these weights.
func newPolicy(t testing.TB, name string, weights ...int) (tested, []*backend.Backend) {
	t.Helper()
	return newPolicyWith(t, Options{Policy: name, Seed: 1}, newMembers(weights...))
}

// newPolicyWith is newPolicy with more to say.
func newPolicyWith(t testing.TB, o Options, members []Member) (tested, []*backend.Backend) {
	t.Helper()
	p, err := New(members, o)
	if err != nil {
		t.Fatal(err)
	}
	indexes := make(map[*backend.Backend]int)
	for i, m := range members {
		indexes[m.Backend] = i
	}
	return tested{p, indexes}, backendsOf(members)
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
func order(p tested, now int64, n int) []int {
	var picks []int
	for range n {
		b := p.Pick(now, nil)
		if b == nil {
			return append(picks, -1)
		}
		picks = append(picks, p.index(b))
	}
	return picks
}

// fails makes an attempt at b, picked before, fail.
func fails(p tested, b *backend.Backend, now int64) {
	p.Failed(b, now)
	p.Done(b)
}

// clientAt is the address of one of many clients.
func clientAt(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}
