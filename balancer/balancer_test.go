package balancer

import (
	"strings"
	"sync"
	"testing"

	"l4proxy/backend"
)

func TestNewRefuses(t *testing.T) {
	twice := newMembers(1, 1)
	twice[1] = twice[0]
	random := Options{Policy: "random"}
	for want, build := range map[string]func() (*Balancer, error){
		`unknown policy "best": one of first, least_conn, maglev, p2c, random, round_robin, source_hash`: func() (*Balancer, error) {
			return New(nil, Options{Policy: "best"})
		},
		"backend 192.0.2.1:0 is in the pool twice":          func() (*Balancer, error) { return New(twice, random) },
		"backend 192.0.2.1:0 has weight 0: from 1 to 65535": func() (*Balancer, error) { return New(newMembers(0), random) },
		"backend 192.0.2.1:0 has weight 65536: from 1 to 65535": func() (*Balancer, error) {
			return New(newMembers(65536), random)
		},
		"backend 192.0.2.1:0 has weight 1024: from 1 to 1023": func() (*Balancer, error) {
			return New(newMembers(1024), Options{Policy: "random", SlowStart: 1})
		},
	} {
		if _, err := build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New returned the error %v, want %s", err, want)
		}
	}
}

func TestNoBackends(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, _ := newPolicy(t, name)
		if b := p.Pick(0, nil); b != nil {
			t.Errorf("picked %s from nothing", b.Address)
		}
	})
}

func TestPickCountsAndDoneTakesBack(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 2, 3)
		var picks []*backend.Backend
		for range 100 {
			b := p.Pick(0, nil)
			before := b.Active()
			picks = append(picks, b)
			p.OK(b)
			if b.Active() != before {
				t.Fatal("OK changed the number of connections")
			}
		}
		var sum, total int64
		for _, b := range backends {
			sum += b.Active()
			total += int64(b.Total())
			if ok, failed := b.Dials(); ok != b.Total() || failed != 0 {
				t.Errorf("%d picks made %d, %d dials", b.Total(), ok, failed)
			}
		}
		if sum != 100 || total != 100 {
			t.Errorf("100 picks made %d active, %d in all", sum, total)
		}
		for _, b := range picks {
			p.Done(b)
		}
		for _, b := range backends {
			if b.Active() != 0 {
				t.Errorf("%s has %d connections after all are done", b.Address, b.Active())
			}
		}
	})
}

func TestTriedIsNeverPickedAgain(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		const n = 5
		p, backends := newPolicy(t, name, 9, 1, 5, 1, 3)
		backends[3].Acquire() // uneven loads
		for range 100 {
			var tried []*backend.Backend
			for range n {
				b := p.Pick(0, tried)
				if b == nil {
					t.Fatalf("no backend after %d of %d", len(tried), n)
				}
				if in(tried, b) {
					t.Fatalf("picked %s again", b.Address)
				}
				tried = append(tried, b)
			}
			if b := p.Pick(0, tried); b != nil {
				t.Fatalf("picked %s when all were tried", b.Address)
			}
			for _, b := range tried {
				p.Done(b)
			}
		}
	})
}

// TestTriedDoNotLoseTheirTurn holds that skipping over a backend for one client leaves the others'
// picks alone.
func TestTriedDoNotLoseTheirTurn(t *testing.T) {
	for _, name := range []string{"least_conn", "round_robin"} {
		t.Run(name, func(t *testing.T) {
			p, backends := newPolicy(t, name, equal(4)...)
			p.Pick(0, backends[:2])
			got := order(p, 0, 3)
			if got[0] != 0 || got[1] != 1 || got[2] != 3 {
				t.Errorf("picked %v after one client skipped 0 and 1 for 2, want [0 1 3]", got)
			}
		})
	}
}

// spreadsEvenly reports whether a policy never gives one backend more than its share.
func spreadsEvenly(name string) bool { return name == "least_conn" || name == "round_robin" }

func TestManyBackends(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		const n = 10_000
		p, backends := newPolicy(t, name, equal(n)...)
		for range 3 * n {
			p.Pick(0, nil)
		}
		var sum int64
		for _, b := range backends {
			if spreadsEvenly(name) && b.Active() != 3 {
				t.Fatalf("%s has %d connections, want 3", b.Address, b.Active())
			}
			sum += b.Active()
		}
		if sum != 3*n {
			t.Errorf("%d connections counted, want %d", sum, 3*n)
		}
		for i, b := range backends { // every other one is down
			if i%2 == 0 {
				p.Failed(b, 0)
			}
		}
		for range n {
			if b := p.Pick(0, nil); p.index(b)%2 == 0 {
				t.Fatalf("picked %s, which is in backoff", b.Address)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, equal(100)...)
		tried := backends[:3]
		p.Done(p.Pick(0, tried)) // makes room for those held back
		now := int64(0)
		if n := testing.AllocsPerRun(1000, func() {
			now += second / 10
			b := p.Pick(now, nil)
			p.OK(b)
			p.Done(b)
			b = p.Pick(now, tried)
			fails(p, b, now)
		}); n != 0 {
			t.Errorf("an attempt allocates %v times", n)
		}
	})
}

func TestConcurrentLoops(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		const loops, each = 4, 2000
		p, backends := newPolicy(t, name, 1, 2, 3, 4)
		var wg sync.WaitGroup
		for loop := range loops {
			wg.Go(func() {
				now := int64(0)
				var open []*backend.Backend
				for i := range each {
					now += second / 100
					b := p.Pick(now, nil)
					if (i+loop)%7 == 0 {
						p.Failed(b, now)
						tried := []*backend.Backend{b}
						p.Done(b)
						if b = p.Pick(now, tried); b == tried[0] {
							t.Error("picked the tried backend again")
						}
					}
					p.OK(b)
					if open = append(open, b); len(open) > 50 {
						p.Done(open[0])
						open = open[1:]
					}
				}
				for _, b := range open {
					p.Done(b)
				}
			})
		}
		wg.Wait()
		var total, failed uint64
		for _, b := range backends {
			if b.Active() != 0 {
				t.Errorf("%s has %d connections after all are done", b.Address, b.Active())
			}
			total += b.Total()
			_, f := b.Dials()
			failed += f
		}
		if total != loops*each+failed {
			t.Errorf("%d picks counted, want %d and %d repeated", total, loops*each, failed)
		}
	})
}
