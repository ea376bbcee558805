package balancer

import (
	"math/rand/v2"
	"sync"
	"testing"

	"l4proxy/backend"
)

func TestPoolLimit(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicyWith(t, Options{Policy: name, MaxConnections: 3}, newMembers(1, 1))
		var open []*backend.Backend
		for range 3 {
			open = append(open, p.Pick(0, nil))
		}
		if b, verdict := p.Balancer.Pick(Request{}); verdict != NoBackend {
			t.Errorf("verdict %d and backend %v beyond the limit", verdict, b)
		}
		if _, verdict := p.Balancer.Pick(Request{Beside: open[0]}); verdict != NoBackend {
			t.Errorf("verdict %d of a second dial beyond the limit", verdict)
		}
		v := p.Preview(Request{}, 10)
		if v.Verdict != NoBackend || v.Connections != 3 || v.MaxConnections != 3 {
			t.Errorf("preview %+v", v)
		}
		p.Done(open[0])
		if p.Pick(0, nil) == nil {
			t.Error("no backend after a connection has ended")
		}
		if s := p.Stats(); s.Connections != 3 || s.Limit != 3 || backends[0].Active()+backends[1].Active() != 3 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestPoolLimitQueues: clients of a full pool wait, and each connection that ends, of whatever
// backend, lets one of them in.
func TestPoolLimitQueues(t *testing.T) {
	o := Options{Policy: "least_conn", MaxConnections: 2, Queue: 3}
	members := newMembers(1, 1)
	p, backends := newPolicyWith(t, o, members)
	p.Pick(0, nil)
	p.Pick(0, nil)
	first, second, third := waits(t, p, Request{}), waits(t, p, Request{}), waits(t, p, Request{})
	if _, verdict := p.Balancer.Pick(Request{Waiter: new(waiter)}); verdict != QueueFull {
		t.Errorf("verdict %d, want a full queue", verdict)
	}
	if v := p.Preview(Request{Waiter: new(waiter)}, 10); v.Verdict != QueueFull {
		t.Errorf("preview: verdict %d, want a full queue", v.Verdict)
	}
	p.Done(backends[0])
	if first.one(t) == nil || second.one(t) != nil {
		t.Error("not exactly the first client was served")
	}
	if err := p.Update(members[:1], o, 0); err != nil {
		t.Fatal(err)
	}
	if second.one(t) != nil {
		t.Error("the connection of a removed backend does not count")
	}
	p.Done(backends[1])
	if b := second.one(t); b != backends[0] {
		t.Errorf("served by %v after the connection of a removed backend has ended", b)
	}
	o.MaxConnections = 3
	if err := p.Update(members[:1], o, 0); err != nil {
		t.Fatal(err)
	}
	if third.one(t) == nil {
		t.Error("a higher limit does not serve the queue")
	}
}

// TestPoolLimitHoldsForAll: no way leads to a backend of a full pool: no backup, no probe and no
// last resort.
func TestPoolLimitHoldsForAll(t *testing.T) {
	members := newMembers(1, 1, 1)
	members[1].Priority, members[2].Priority = 1, 1
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", MaxConnections: 1}, members)
	for range 3 {
		fails(p, p.Pick(0, nil), 0)
	}
	p.Adopt(backends[0])
	const later = 1000 * second
	if b := p.Pick(later, nil); b != nil {
		t.Errorf("picked %v", b)
	}
	p.Done(backends[0])
	if p.Pick(later, nil) == nil {
		t.Error("no backend although the pool has room")
	}
}

// TestPoolLimitComesLate: a limit counts the connections that began before it, also those that are
// beyond it.
func TestPoolLimitComesLate(t *testing.T) {
	o, members := Options{Policy: "round_robin"}, newMembers(1, 1)
	p, backends := newPolicyWith(t, o, members)
	for range 4 {
		p.Pick(0, nil)
	}
	o.MaxConnections = 2
	if err := p.Update(members, o, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if p.Pick(0, nil) != nil {
			t.Fatalf("picked with %d connections", 4-i)
		}
		if i < 2 {
			p.Done(backends[i%2])
		}
	}
	p.Done(backends[0])
	if p.Pick(0, nil) == nil {
		t.Error("no backend below the limit")
	}
}

// TestPoolLimitUnderLoops: loops pick and end connections while the limit comes and goes. In the
// end nothing is counted.
func TestPoolLimitUnderLoops(t *testing.T) {
	const most, rounds = 5, 20_000
	members := newMembers(1, 1, 1)
	p, _ := newPolicyWith(t, Options{Policy: "round_robin", MaxConnections: most}, members)
	var loops sync.WaitGroup
	for seed := range uint64(3) {
		loops.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			var held []*backend.Backend
			for range rounds {
				if len(held) > 0 && r.IntN(2) == 0 {
					p.Balancer.Done(held[0], 0)
					held = held[1:]
				} else if b, verdict := p.Balancer.Pick(Request{}); verdict == Picked {
					held = append(held, b)
				}
			}
			for _, b := range held {
				p.Balancer.Done(b, 0)
			}
		})
	}
	over := make(chan struct{})
	go func() { loops.Wait(); close(over) }()
	for i := int64(0); ; i++ {
		select {
		case <-over:
			if n := p.Stats().Connections; n != 0 {
				t.Errorf("%d connections are counted", n)
			}
			return
		default:
			if err := p.Update(members, Options{Policy: "round_robin", MaxConnections: i % 2 * most}, 0); err != nil {
				t.Error(err)
			}
		}
	}
}
