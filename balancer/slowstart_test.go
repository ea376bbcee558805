package balancer

import (
	"testing"
	"time"

	"l4proxy/backend"
)

// TestSlowStart has a backend of three come back: its share grows from little to a third in the
// time, with every policy that spreads by weight.
func TestSlowStart(t *testing.T) {
	for _, name := range []string{"least_conn", "round_robin", "random", "p2c", "source_hash", "maglev"} {
		t.Run(name, func(t *testing.T) {
			const n = 6000
			p, backends := newPolicyWith(t, Options{Policy: name, Seed: 1, SlowStart: 30 * time.Second}, newMembers(1, 1, 1))
			b := backends[0]
			p.SetHealth(b, backend.HealthDown, 0)
			p.SetHealth(b, backend.HealthUp, 0)
			last := 0
			for _, at := range []struct {
				seconds int64
				least   float64 // of its connections to those of another
				most    float64
			}{{0, 0.05, 0.15}, {6, 0.12, 0.3}, {15, 0.35, 0.65}, {24, 0.65, 0.95}, {30, 0.85, 1.15}} {
				now := at.seconds * second
				if again := p.Tick(now); again == (at.seconds == 30) {
					t.Errorf("ticks wanted after %d s: %v", at.seconds, again)
				}
				counts := spread(p, now, n)
				ratio := float64(counts[0]) / (float64(counts[1]+counts[2]) / 2)
				if ratio < at.least || ratio > at.most {
					t.Errorf("after %d s it has %.2f of another's share (%v), want %.2f to %.2f",
						at.seconds, ratio, counts, at.least, at.most)
				}
				if counts[0] <= last {
					t.Errorf("after %d s it has %d of %d, before %d", at.seconds, counts[0], n, last)
				}
				last = counts[0]
			}
		})
	}
}

// spread picks for n clients that stay until the end, and counts.
func spread(p tested, now int64, n int) []int {
	counts := make([]int, len(p.order))
	var all []*backend.Backend
	for i := range n {
		b, _ := p.Balancer.Pick(Request{Now: now, Client: clientAt(i)})
		counts[p.index(b)]++
		all = append(all, b)
	}
	for _, b := range all {
		p.Done(b)
	}
	return counts
}

// TestHiccupIsNoSlowStart holds that one failed dial does not take a backend's share from it for
// long.
func TestHiccupIsNoSlowStart(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "round_robin", SlowStart: time.Minute}, newMembers(1, 1))
	failFirst(t, p, backends, 0, 0)
	b := p.Pick(second, nil)
	p.OK(b)
	p.Done(b)
	if counts := spread(p, second, 100); counts[0] != 50 {
		t.Errorf("it has %d of 100 after a hiccup", counts[0])
	}
	failFirst(t, p, backends, 0, 2*second)
	b = p.Pick(3*second, nil)
	fails(p, b, 3*second)
	b = p.Pick(5*second, nil)
	p.OK(b)
	p.Done(b)
	if counts := spread(p, 5*second, 110); counts[0] > 20 {
		t.Errorf("it has %d of 110 at once after it was away", counts[0])
	}
}

func TestSlowStartEndsWhenItGoesDown(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", SlowStart: 10 * time.Second}, newMembers(1, 1))
	b := backends[0]
	for i := range int64(3) { // it comes back before the last rise was over
		p.SetHealth(b, backend.HealthDown, i*second)
		p.SetHealth(b, backend.HealthUp, i*second)
	}
	if !p.Tick(11*second) || p.Tick(12*second) {
		t.Error("the rise does not last 10 s from the last time it came back")
	}
	if counts := spread(p, 12*second, 100); counts[0] != 50 {
		t.Errorf("it has %d of 100 in the end", counts[0])
	}
}
