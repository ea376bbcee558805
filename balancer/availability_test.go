package balancer

import (
	"testing"

	"l4proxy/backend"
)

// failFirst makes the first dial to backend i fail at now.
func failFirst(t *testing.T, p tested, backends []*backend.Backend, i int, now int64) {
	t.Helper()
	others := append(append([]*backend.Backend(nil), backends[:i]...), backends[i+1:]...)
	b := p.Pick(now, others)
	if b != backends[i] {
		t.Fatalf("picked %v, want backend %d", b, i)
	}
	fails(p, b, now)
}

// picks counts how many of n clients at the same time get backend b.
func picks(p tested, b *backend.Backend, now int64, n int) int {
	var all []*backend.Backend
	got := 0
	for range n {
		picked := p.Pick(now, nil)
		if picked == b {
			got++
		}
		all = append(all, picked)
	}
	for _, picked := range all {
		if picked != b {
			p.Done(picked)
		}
	}
	return got
}

func TestBackoffAttractsNoClient(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1, 1)
		now := 100 * second
		failFirst(t, p, backends, 1, now)
		for _, pause := range []int64{1, 2, 4, 8, 16, 30, 30} {
			if n := picks(p, backends[1], now+pause*second-1, 50); n != 0 {
				t.Fatalf("%d clients got it within %d s", n, pause)
			}
			now += pause * second
			if n := picks(p, backends[1], now, 50); n != 1 {
				t.Fatalf("%d clients probed it after %d s, want 1", n, pause)
			}
			fails(p, backends[1], now)
		}
	})
}

func TestRecovery(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1)
		failFirst(t, p, backends, 0, 0)
		if picks(p, backends[0], second, 10) != 1 {
			t.Fatal("not probed")
		}
		p.OK(backends[0])
		p.Done(backends[0])
		if n := picks(p, backends[0], second, 64); n < 10 {
			t.Errorf("%d of 64 clients got it after recovery", n)
		}
		for backends[0].Active() > 0 {
			p.Done(backends[0])
		}
		failFirst(t, p, backends, 0, 10*second)
		if got := backends[0].BackoffUntil(); got != 11*second {
			t.Errorf("in backoff until %d after recovery, want 1 s", got)
		}
	})
}

func TestProbeWithoutVerdict(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1)
		failFirst(t, p, backends, 0, 0)
		if picks(p, backends[0], second, 10) != 1 {
			t.Fatal("not probed")
		}
		p.Done(backends[0]) // the client went away during the dial
		if n := picks(p, backends[0], second, 10); n != 1 {
			t.Errorf("%d clients probed it after the first had gone, want 1", n)
		}
	})
}

// TestProbeBesideOldConnections holds that connections which a failing backend still serves do not
// let more probes out by ending.
func TestProbeBesideOldConnections(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1)
		for range 3 {
			p.OK(p.Pick(0, backends[1:]))
		}
		failFirst(t, p, backends, 0, 0)
		if picks(p, backends[0], second, 10) != 1 {
			t.Fatal("not probed")
		}
		p.Done(backends[0])
		if n := picks(p, backends[0], second, 10); n != 0 {
			t.Errorf("%d more clients probed it when an old connection ended", n)
		}
		later := second + int64(backend.ProbeLease)
		if n := picks(p, backends[0], later, 10); n != 1 {
			t.Errorf("%d clients probed it after the lease, want 1", n)
		}
	})
}

// TestBurstOfFailures holds that dials which were under way together count as one failure.
func TestBurstOfFailures(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1)
		for range 20 {
			p.Pick(0, backends[1:])
		}
		for range 20 {
			fails(p, backends[0], 0)
		}
		if got := backends[0].BackoffUntil(); got != second {
			t.Errorf("in backoff until %d, want 1 s", got)
		}
		if _, failed := backends[0].Dials(); failed != 20 {
			t.Errorf("%d failed dials counted, want 20", failed)
		}
	})
}

// TestLaterAttemptsAreNoProbes holds that a client whose first attempt failed is not used to probe
// as long as a backend can serve it.
func TestLaterAttemptsAreNoProbes(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, equal(10)...)
		for i := range 8 {
			failFirst(t, p, backends, i, 0)
		}
		first := p.Pick(second, nil)
		if !first.InBackoff() {
			t.Fatalf("picked %s, want a probe", first.Address)
		}
		fails(p, first, second)
		if b := p.Pick(second, []*backend.Backend{first}); b.InBackoff() {
			t.Errorf("the second attempt got %s, which is in backoff", b.Address)
		}
	})
}

func TestSingleBackendIsNeverGivenUp(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1)
		for range 100 {
			b := p.Pick(0, nil)
			if b == nil {
				t.Fatal("no backend although one is left")
			}
			if again := p.Pick(0, backends); again != nil {
				t.Fatal("picked the tried backend again")
			}
			fails(p, b, 0)
		}
		b := p.Pick(0, nil)
		p.OK(b) // it has been restarted
		p.Done(b)
		if b.InBackoff() {
			t.Error("in backoff after an answered dial")
		}
	})
}

// TestLastResortTakesTurns holds that with all in backoff the next clients try all of them, so that
// the one which is back is found.
func TestLastResortTakesTurns(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		const n, attempts = 10, 3
		p, backends := newPolicy(t, name, equal(n)...)
		for i := range n {
			failFirst(t, p, backends, i, 0)
		}
		seen := map[*backend.Backend]bool{}
		for range (n + attempts - 1) / attempts {
			var tried []*backend.Backend
			for range attempts {
				b := p.Pick(1, tried)
				if b == nil || in(tried, b) {
					t.Fatalf("picked %v after %d attempts", b, len(tried))
				}
				fails(p, b, 1)
				tried = append(tried, b)
				seen[b] = true
			}
		}
		if len(seen) != n {
			t.Errorf("%d of %d backends were tried", len(seen), n)
		}
	})
}

// TestLastResortBesideFullOnes has one backend full and the other in backoff after a single failed
// dial, and a client that does not wait: it tries the one that may be back, as it would if there
// were no full one.
func TestLastResortBesideFullOnes(t *testing.T) {
	members := newMembers(1, 1)
	members[0].MaxConnections = 1
	pool, backends := newPolicyWith(t, Options{Policy: "first"}, members)
	p := pool.Balancer
	if b, _ := p.Pick(Request{Now: 1}); b != backends[0] {
		t.Fatalf("picked %v", b)
	}
	b, _ := p.Pick(Request{Now: 1})
	if b != backends[1] {
		t.Fatalf("picked %v", b)
	}
	p.Failed(b, 2, 2)
	p.Done(b, 2)
	if b, verdict := p.Pick(Request{Now: 3}); b != backends[1] {
		t.Errorf("picked %v (verdict %d): the client is turned away, although %s was not tried for it", b, verdict, backends[1].Address)
	}
}
