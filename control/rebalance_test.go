package control

import (
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/proxy"
)

// TestRebalance has connections spread unfairly. The longest idle ones of the fullest backend are
// closed, no faster than the rate allows and no more than exceed its share.
func TestRebalance(t *testing.T) {
	inWorld(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], rebalance: {rate: 10/s, jitter: 0%}}}
`, func(t *testing.T, w *world) {
		crowded, spare := w.backend(0), w.backend(1)
		for range 10 {
			crowded.Acquire()
		}
		spare.Acquire()
		spare.Acquire()
		closed := func(after time.Duration, idle ...proxy.IdleConn) []proxy.IdleConn {
			w.mu.Lock()
			w.idle[crowded], w.ended = idle, nil
			w.mu.Unlock()
			w.pass(after)
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.ended
		}
		some := []proxy.IdleConn{{Since: 5}, {Since: 3}, {Since: 9}, {Since: 4}}
		if got := closed(rebalanceEvery-1, some...); len(got) != 0 {
			t.Errorf("%d connections were closed before one was due", len(got))
		}
		if got := closed(1, some...); len(got) != 1 || got[0].Since != 3 {
			t.Errorf("closed %+v, want the one that has been idle for longest", got)
		}
		closed(rebalanceEvery) // none is idle
		if got := closed(rebalanceEvery, some...); len(got) != 2 || got[0].Since != 3 || got[1].Since != 4 {
			t.Errorf("closed %+v, want two: one could not be closed when it was due", got)
		}
		closed(time.Minute)
		if got := closed(rebalanceEvery, make([]proxy.IdleConn, 10)...); len(got) != 4 { // 6 each is fair
			t.Errorf("%d were closed, want 4", len(got))
		}
	})
}

func TestFullest(t *testing.T) {
	b := []*backend.Backend{{Address: "a"}, {Address: "b"}, {Address: "c"}}
	for _, test := range []struct {
		name    string
		shares  []balancer.Share
		backend *backend.Backend
		excess  int
	}{
		{"no backend", nil, nil, 0},
		{"fair", []balancer.Share{has(b[0], 5, 0.5), has(b[1], 5, 0.5)}, nil, 0},
		{"one more is fair", []balancer.Share{has(b[0], 6, 0.5), has(b[1], 4, 0.5)}, nil, 0},
		{"within a tenth", []balancer.Share{has(b[0], 109, 0.5), has(b[1], 91, 0.5)}, nil, 0},
		{"beyond a tenth", []balancer.Share{has(b[0], 120, 0.5), has(b[1], 80, 0.5)}, b[0], 20},
		{"weights", []balancer.Share{has(b[0], 80, 0.75), has(b[1], 40, 0.25)}, b[1], 10},
		{"a new one", []balancer.Share{has(b[0], 30, 1./3), has(b[1], 33, 1./3), has(b[2], 0, 1./3)}, b[1], 12},
	} {
		if got, excess := fullest(test.shares); got != test.backend || excess != test.excess {
			t.Errorf("%s: %v exceeds its share by %d, want %v and %d", test.name, got, excess, test.backend, test.excess)
		}
	}
}

// has makes a share.
func has(b *backend.Backend, active int64, weight float64) balancer.Share {
	return balancer.Share{Backend: b, Active: active, Weight: weight}
}
