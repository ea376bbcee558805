package balancer

import (
	"sync"
	"testing"

	"l4proxy/backend"
)

// waiter is a client that waits and notes what it is given.
type waiter struct {
	mu      sync.Mutex
	granted []*backend.Backend
}

func (w *waiter) Granted(b *backend.Backend) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.granted = append(w.granted, b)
}

// one returns the backend that was granted, nil if there was none.
func (w *waiter) one(t *testing.T) *backend.Backend {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.granted) > 1 {
		t.Errorf("granted %d times", len(w.granted))
	}
	if len(w.granted) == 0 {
		return nil
	}
	return w.granted[0]
}

// waits enqueues a client.
func waits(t *testing.T, p tested, r Request) *waiter {
	t.Helper()
	w := new(waiter)
	r.Waiter = w
	if b, verdict := p.Balancer.Pick(r); verdict != Waiting {
		t.Fatalf("verdict %d and backend %v, want to wait", verdict, b)
	}
	return w
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		members := newMembers(1)
		members[0].MaxConnections = 2
		p, backends := newPolicyWith(t, Options{Policy: name, Queue: 10}, members)
		open := []*backend.Backend{p.Pick(0, nil), p.Pick(0, nil)}
		first, second := waits(t, p, Request{}), waits(t, p, Request{})
		third := waits(t, p, Request{})
		again := waits(t, p, Request{Again: true})
		if !p.Leave(second) {
			t.Error("a client that waits cannot leave")
		}
		for i, w := range []*waiter{again, first, third} {
			if w.one(t) != nil {
				t.Fatalf("turn %d came early", i)
			}
			p.Done(open[0])
			if open[0] = w.one(t); open[0] == nil {
				t.Fatalf("turn %d did not come", i)
			}
			if p.Leave(w) {
				t.Error("a client that was served was still in the queue")
			}
		}
		if second.one(t) != nil {
			t.Error("a client that has left was served")
		}
		if n := p.Stats().Waiting; n != 0 {
			t.Errorf("%d still wait", n)
		}
		if n := backends[0].Active(); n != 2 {
			t.Errorf("%d connections are counted, want 2", n)
		}
	})
}

func TestQueueIsServedWhenABackendComesBack(t *testing.T) {
	for name, back := range map[string]func(p tested, b *backend.Backend){
		"health": func(p tested, b *backend.Backend) { p.SetHealth(b, backend.HealthUp, 0) },
		"dial": func(p tested, b *backend.Backend) {
			p.SetHealth(b, backend.HealthUnknown, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, backends := newPolicyWith(t, Options{Policy: "least_conn", Queue: 10}, newMembers(1, 1))
			for _, b := range backends {
				p.SetHealth(b, backend.HealthDown, 0)
			}
			if _, verdict := p.Balancer.Pick(Request{Waiter: new(waiter)}); verdict != NoBackend {
				t.Errorf("verdict %d for a client that does not wait for any backend", verdict)
			}
			var all []*waiter
			for range 4 {
				all = append(all, waits(t, p, Request{WaitForAny: true}))
			}
			back(p, backends[1])
			for i, w := range all {
				if w.one(t) != backends[1] {
					t.Errorf("client %d has %v", i, w.one(t))
				}
			}
		})
	}
}

// TestFirstInQueueProbes holds that one of the waiting clients finds out whether a backend is back,
// and that its answer is good for all.
func TestFirstInQueueProbes(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", Queue: 10}, newMembers(1))
	failFirst(t, p, backends, 0, 0)
	r := Request{Now: 1, WaitForAny: true, OnlyAvailable: true}
	first, second := waits(t, p, r), waits(t, p, r)
	if !p.Tick(second9) || first.one(t) != nil {
		t.Fatal("probed before its time")
	}
	if !p.Tick(second1) || first.one(t) != backends[0] || second.one(t) != nil {
		t.Fatal("the first is not the probe")
	}
	p.OK(backends[0])
	if second.one(t) != backends[0] {
		t.Error("the answer was not good for the second")
	}
	if p.Tick(second1) {
		t.Error("ticks are wanted with no client in the queue")
	}
}

const (
	second9 = second * 9 / 10
	second1 = second
)

func TestQueueAcrossLoops(t *testing.T) {
	const loops, each, most = 4, 500, 3
	members := newMembers(1, 1)
	for i := range members {
		members[i].MaxConnections = most
	}
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", Queue: loops}, members)
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			var open []*backend.Backend
			for range each {
				turn := make(chan *backend.Backend, 1)
				b, verdict := p.Balancer.Pick(Request{Waiter: turnOn(turn)})
				switch verdict {
				case Waiting:
					for _, b := range open { // or all may wait for each other
						p.Done(b)
					}
					open = nil
					b = <-turn
				case Picked:
				default:
					t.Errorf("verdict %d", verdict)
					return
				}
				if n := b.Active(); n > most {
					t.Errorf("%d connections on one that takes %d", n, most)
				}
				open = append(open, b)
			}
			for _, b := range open {
				p.Done(b)
			}
		})
	}
	wg.Wait()
	for _, b := range backends {
		if b.Active() != 0 {
			t.Errorf("%d connections are left", b.Active())
		}
	}
}

// turnOn is a waiter on a channel. Channels are compared by identity.
type turnOn chan *backend.Backend

func (c turnOn) Granted(b *backend.Backend) { c <- b }

// TestSilenceServesTheQueue has a failed connection be the one too many: the pool panics, one that
// was down is used, and it belongs to the client that waits.
func TestSilenceServesTheQueue(t *testing.T) {
	p, backends := newPolicyWith(t, Options{
		Policy: "least_conn", Queue: 5, PanicThreshold: 40,
		Outlier: &Outlier{Failures: 1, Eject: 10e9, MaxEjected: 100},
	}, newMembers(1, 1, 1))
	a, b, c := backends[0], backends[1], backends[2]
	p.limit(b, 1)
	p.Pick(0, []*backend.Backend{a, c})
	p.SetHealth(c, backend.HealthDown, 0)
	p.limit(a, 1)
	p.Pick(0, nil)
	w := waits(t, p, Request{})
	p.Silent(a, Silence{})
	if w.one(t) != c {
		t.Errorf("the client that waits has %v, want the one that is used again", w.one(t))
	}
}

// TestLastResortDoesNotOvertake has the full backend, for which clients wait, go down: an ejected
// one is the last resort for them first.
func TestLastResortDoesNotOvertake(t *testing.T) {
	p, backends := newPolicyWith(t, Options{
		Policy: "least_conn", Queue: 5, Outlier: &Outlier{Failures: 1, Eject: 10e9, MaxEjected: 50},
	}, newMembers(1, 1))
	full, ejected := backends[0], backends[1]
	p.limit(full, 1)
	p.Silent(ejected, Silence{})
	p.Pick(0, nil)
	w := waits(t, p, Request{})
	p.SetHealth(full, backend.HealthDown, 0)
	if w.one(t) != ejected {
		t.Errorf("the client that waits has %v, want the ejected one", w.one(t))
	}
}
