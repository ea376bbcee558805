package balancer

import (
	"fmt"
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

// newPolicy returns the named policy over backends of these weights.
func newPolicy(t testing.TB, name string, weights ...int) (Policy, []*backend.Backend) {
	t.Helper()
	backends := newBackends(weights...)
	p, err := New(name, backends, 1)
	if err != nil {
		t.Fatal(err)
	}
	return p, backends
}

// eachPolicy runs f with every policy by name.
func eachPolicy(t *testing.T, f func(t *testing.T, name string)) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { f(t, name) })
	}
}

// order returns the indexes of the next n picks, which stay counted.
func order(p Policy, now int64, n int) []int {
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
func fails(p Policy, b *backend.Backend, now int64) {
	p.Failed(b, now)
	p.Done(b)
}
