package balancer

import (
	"testing"

	"l4proxy/backend"
)

// tiers makes backends of these priorities; a negative one is far, of the priority that is its
// absolute value less one.
func tiered(t *testing.T, o Options, priorities ...int) (tested, []*backend.Backend) {
	t.Helper()
	members := newMembers(equal(len(priorities))...)
	for i, priority := range priorities {
		if members[i].Far = priority < 0; members[i].Far {
			priority = -priority - 1
		}
		members[i].Priority = uint8(priority)
	}
	return newPolicyWith(t, o, members)
}

// among holds that the next picks are of these backends, each at least once.
func among(t *testing.T, what string, p tested, now int64, want ...int) {
	t.Helper()
	got := map[int]int{}
	var picked []*backend.Backend
	for range 32 * len(want) {
		b := p.Pick(now, nil)
		if b == nil {
			t.Fatalf("%s: nothing picked", what)
		}
		got[p.index(b)]++
		picked = append(picked, b)
	}
	for _, b := range picked {
		p.Done(b)
	}
	for _, i := range want {
		if got[i] == 0 {
			t.Errorf("%s: backend %d was not picked", what, i)
		}
		delete(got, i)
	}
	if len(got) > 0 {
		t.Errorf("%s: picked %v as well", what, got)
	}
}

func TestBackupsServeWhenNoOtherCan(t *testing.T) {
	p, backends := tiered(t, Options{Policy: "least_conn"}, 10, 0, 0, 1)
	among(t, "all well", p, 0, 1, 2)
	p.SetHealth(backends[1], backend.HealthDown, 0)
	among(t, "one is down", p, 0, 2)
	failFirst(t, p, backends, 2, 0)
	among(t, "the other is in backoff", p, 0, 3)
	p.SetHealth(backends[3], backend.HealthDown, 0)
	among(t, "the second priority is down", p, 0, 0)
	p.SetHealth(backends[1], backend.HealthUp, 0)
	among(t, "one is up", p, 0, 1)
}

func TestNearBeforeFar(t *testing.T) {
	p, backends := tiered(t, Options{Policy: "random", Seed: 1}, -1, 0, -1, 0, 1)
	among(t, "all well", p, 0, 1, 3)
	p.SetHealth(backends[1], backend.HealthDown, 0)
	p.SetHealth(backends[3], backend.HealthDown, 0)
	among(t, "the near ones are down", p, 0, 0, 2)
	p.SetHealth(backends[0], backend.HealthDown, 0)
	p.SetHealth(backends[2], backend.HealthDown, 0)
	among(t, "all of the first priority are down", p, 0, 4)
}

// TestBackupIsProbedOnlyWhenItServes holds that no client is sent to a backup to find out whether
// that is back.
func TestBackupIsProbedOnlyWhenItServes(t *testing.T) {
	p, backends := tiered(t, Options{Policy: "least_conn"}, 0, 1)
	failFirst(t, p, backends, 1, 0)
	among(t, "the backup could be probed", p, 10*second, 0)
	p.SetHealth(backends[0], backend.HealthDown, 0)
	among(t, "the backup serves", p, 10*second, 1)
}

// TestFullBackends holds which backends serve when the first ones are full.
func TestFullBackends(t *testing.T) {
	for _, test := range []struct {
		name       string
		queue      int
		priorities []int
		want       []Verdict // of the third client and the fourth, where each backend takes one connection
		backend    int       // of the third, if picked
	}{
		{"far_ones_serve", 5, []int{0, 0, -1}, []Verdict{Picked, Waiting}, 2},
		{"backups_serve_without_a_queue", 0, []int{0, 0, 1}, []Verdict{Picked, NoBackend}, 2},
		{"the_queue_comes_before_backups", 1, []int{0, 0, 1}, []Verdict{Waiting, Picked, QueueFull}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, backends := tiered(t, Options{Policy: "least_conn", Queue: test.queue}, test.priorities...)
			full(p, backends, 1)
			for i, want := range test.want {
				b, got := p.Balancer.Pick(Request{Waiter: new(waiter)})
				if got != want || want == Picked && b != backends[test.backend] {
					t.Errorf("client %d: verdict %d and backend %v, want verdict %d", 3+i, got, b, want)
				}
			}
		})
	}
}

// full makes the first two backends full, and bounds all.
func full(p tested, backends []*backend.Backend, most int32) {
	for _, b := range backends {
		p.limit(b, most)
	}
	for range 2 * most {
		p.Pick(0, nil)
	}
}

func TestMaxConnectionsIsNeverExceeded(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		members := newMembers(1, 5, 2)
		for i := range members {
			members[i].MaxConnections = int32(2 * (i + 1))
		}
		p, _ := newPolicyWith(t, Options{Policy: name, Seed: 1}, members)
		var open []*backend.Backend
		for b := p.Pick(0, nil); b != nil; b = p.Pick(0, nil) {
			open = append(open, b)
		}
		if len(open) != 2+4+6 {
			t.Errorf("%d connections, want 12", len(open))
		}
		for range 100 {
			p.Done(open[0])
			b := p.Pick(0, nil)
			if b != open[0] {
				t.Fatalf("picked %v, want the only one that is not full", b)
			}
			open = append(open[1:], b)
		}
		for _, b := range members {
			if b.Active() != int64(b.MaxConnections) {
				t.Errorf("%d connections on one that takes %d", b.Active(), b.MaxConnections)
			}
		}
	})
}
