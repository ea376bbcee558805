package balancer

import (
	"testing"
	"time"

	"l4proxy/backend"
)

// TestDrainedGetsNoClients: with each policy, whatever the state of the others.
func TestDrainedGetsNoClients(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		for _, to := range []backend.Admin{backend.AdminDrain, backend.AdminDown} {
			p, backends := newPolicyWith(t, Options{Policy: name, Seed: 1, PanicThreshold: 99}, newMembers(1, 1, 1))
			drained := backends[0]
			p.SetAdmin(drained, to, 0)
			if n := picks(p, drained, 0, 50); n != 0 {
				t.Fatalf("%s: %d clients got it", to, n)
			}
			p.SetHealth(backends[1], backend.HealthDown, 0)
			if s := p.Stats(); !s.Panicking || s.Drained != 1 || s.Usable != 1 {
				t.Fatalf("one of two in service is down: %+v", s)
			}
			if n := picks(p, drained, 0, 50); n != 0 {
				t.Fatalf("%s: %d clients got it in panic mode", to, n)
			}
			if b := p.Pick(0, backends[1:]); b != nil {
				t.Fatalf("%s: it is the last resort", to)
			}
			p.SetAdmin(drained, backend.AdminUp, 0)
			if n := picks(p, drained, 0, 200); n == 0 && name != "first" {
				t.Errorf("%s: no client of 200 gets it when it is up again", to)
			}
		}
	})
}

// TestAllDrained: no client is served, and the pool cannot serve.
func TestAllDrained(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicyWith(t, Options{Policy: name, Seed: 1, PanicThreshold: 50}, newMembers(1, 1))
		p.Failed(backends[1], 0) // a last resort otherwise
		for _, b := range backends {
			p.SetAdmin(b, backend.AdminDrain, 0)
		}
		if b := p.Pick(time.Hour.Nanoseconds(), nil); b != nil || p.CanServe() || p.Stats().Panicking {
			t.Errorf("picked %v, can serve is %v, panics %v", b, p.CanServe(), p.Stats().Panicking)
		}
		p.SetAdmin(backends[0], backend.AdminUp, 0)
		if b := p.Pick(0, nil); b != backends[0] || !p.CanServe() {
			t.Errorf("picked %v after one is up again", b)
		}
	})
}

// TestDrainAgainstPanic: backends that are drained do not make a pool panic that otherwise would
// not.
func TestDrainAgainstPanic(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", PanicThreshold: 50}, newMembers(1, 1, 1, 1, 1))
	p.SetHealth(backends[0], backend.HealthDown, 0)
	p.SetAdmin(backends[1], backend.AdminDrain, 0)
	p.SetAdmin(backends[0], backend.AdminDrain, 0) // it is down too
	p.SetHealth(backends[2], backend.HealthDown, 0)
	if s := p.Stats(); s.Panicking || s.Usable != 2 {
		t.Errorf("two of three in service are usable: %+v", s)
	}
	p.SetHealth(backends[3], backend.HealthDown, 0)
	if s := p.Stats(); !s.Panicking {
		t.Errorf("one of three in service is usable: %+v", s)
	}
}

// TestDrainKeepsAProbesResult: the backend was being probed when it was drained.
func TestDrainKeepsAProbesResult(t *testing.T) {
	p, backends := newPolicy(t, "least_conn", 1, 1)
	failFirst(t, p, backends, 0, 0)
	probed := p.Pick(10*second, nil)
	if probed != backends[0] {
		t.Fatalf("probed %v", probed)
	}
	p.SetAdmin(probed, backend.AdminDrain, 10*second)
	p.OK(probed)
	p.Done(probed)
	if n := picks(p, probed, 11*second, 20); n != 0 {
		t.Errorf("%d clients got it", n)
	}
	p.SetAdmin(probed, backend.AdminUp, 12*second)
	if n := picks(p, probed, 12*second, 20); n != 10 {
		t.Errorf("%d of 20 clients got it, want 10", n)
	}
}

// TestUndrainedStartsSlowly: as after it was down.
func TestUndrainedStartsSlowly(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "round_robin", Seed: 1, SlowStart: 10 * time.Second}, newMembers(1, 1))
	p.SetAdmin(backends[0], backend.AdminDrain, 0)
	p.SetAdmin(backends[0], backend.AdminUp, 0)
	if n := picks(p, backends[0], 0, 110); n < 5 || n > 15 {
		t.Errorf("%d of 110 clients got it at first, want 10", n)
	}
	for now := int64(0); p.Tick(now); now += second {
	}
	if n := picks(p, backends[0], 20*second, 110); n != 55 {
		t.Errorf("%d of 110 clients got it afterwards, want 55", n)
	}
}

// TestDrainSurvivesUpdate: a member that stays is still drained; one that leaves and comes back is
// not.
func TestDrainSurvivesUpdate(t *testing.T) {
	members := newMembers(1, 1)
	p, backends := newPolicyWith(t, Options{Policy: "least_conn"}, members)
	p.SetAdmin(backends[0], backend.AdminDrain, 0)
	update := func(members ...Member) {
		t.Helper()
		if err := p.Update(members, Options{Policy: "round_robin"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	update(members...)
	if n := picks(p, backends[0], 0, 10); n != 0 {
		t.Errorf("%d clients got it after an update", n)
	}
	update(members[1])
	update(members...)
	if n := picks(p, backends[0], 0, 10); n != 5 {
		t.Errorf("%d of 10 clients got it after it had left", n)
	}
}
