package balancer

import (
	"encoding/json"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
)

// saveAndLoad returns a Balancer as in another process, with members of the same names.
func saveAndLoad(t *testing.T, old *Balancer, from []Member, o Options, now int64) (*Balancer, []*backend.Backend) {
	t.Helper()
	members := newMembers(equal(len(from))...)
	p, err := New(members, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range from {
		saved, ok := old.Save(m.Backend)
		if !ok {
			t.Fatalf("member %d is not saved", i)
		}
		text, err := json.Marshal(saved)
		if err != nil {
			t.Fatal(err)
		}
		var read Saved
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		p.Load(members[i].Backend, read, now)
	}
	return p, backendsOf(members)
}

func TestSavedMembersCarryOn(t *testing.T) {
	o := Options{Policy: "round_robin", SlowStart: 10 * time.Second, Outlier: &Outlier{Failures: 2, Eject: 30 * time.Second, MaxEjected: 100}}
	members := newMembers(equal(5)...)
	b := backendsOf(members)
	old, err := New(members, o)
	if err != nil {
		t.Fatal(err)
	}
	old.SetHealth(b[0], backend.HealthDown, second)
	old.SetHealth(b[1], backend.HealthUp, second)
	old.Failed(b[2], 2*second, 2*second) // in backoff until 3s
	b[2].NoteDialError(unix.ECONNREFUSED)
	for range 2 {
		old.Silent(b[3], Silence{Asked: 2 * second, Now: 2 * second}) // ejected until 32s
	}
	old.SetHealth(b[4], backend.HealthDown, second)
	old.SetHealth(b[4], backend.HealthUp, 2*second) // rises until 12s
	b[1].Acquire()
	b[1].DialOK()

	const now = 2*second + second/2
	p, n := saveAndLoad(t, old, members, o, now)
	if n[0].Health() != backend.HealthDown || n[1].Health() != backend.HealthUp || n[2].Health() != backend.HealthUnknown {
		t.Errorf("health: %v, %v, %v", n[0].Health(), n[1].Health(), n[2].Health())
	}
	if !n[2].InBackoff() || n[2].BackoffUntil() != 3*second || n[2].Failures() != 1 {
		t.Errorf("in backoff until %d after %d failures, want 3s after 1", n[2].BackoffUntil(), n[2].Failures())
	}
	if n[3].EjectedUntil() != 32*second || n[3].Ejections() != 1 {
		t.Errorf("ejected until %d, want 32s", n[3].EjectedUntil())
	}
	if n[2].BackoffSince() != 2*second || n[2].DialError() != unix.ECONNREFUSED || n[3].EjectedSince() != 2*second {
		t.Errorf("in backoff since %d (%v), ejected since %d", n[2].BackoffSince(), n[2].DialError(), n[3].EjectedSince())
	}
	if ok, failed := n[1].Dials(); ok != 1 || failed != 0 || n[1].Total() != 1 || n[1].Active() != 0 {
		t.Errorf("%d dials, %d failed, %d connections, %d of them now", ok, failed, n[1].Total(), n[1].Active())
	}
	if s := p.Stats(); s.Usable != 3 {
		t.Errorf("%d usable backends, want 3", s.Usable)
	}
	picked := make(map[*backend.Backend]int)
	for range 240 { // the rising one has about a tenth of the weight of the other
		got, verdict := p.Pick(Request{Now: now, OnlyAvailable: true})
		if verdict != Picked {
			t.Fatalf("verdict %v", verdict)
		}
		picked[got]++
	}
	if len(picked) != 2 || picked[n[4]] == 0 || picked[n[4]] > picked[n[1]]/4 {
		t.Errorf("%d clients went to the one that is up, %d to the one that rises", picked[n[1]], picked[n[4]])
	}
	if !p.Tick(now) {
		t.Error("nothing waits for the time")
	}
	p.Tick(33 * second)
	if n[3].Ejected() {
		t.Error("the ejection does not end")
	}
	for range 2 {
		p.Silent(n[3], Silence{Asked: 34 * second, Now: 34 * second})
	}
	if n[3].EjectedUntil() != 34*second+60*second {
		t.Errorf("ejected again until %d, want a longer ejection", n[3].EjectedUntil())
	}
}

// TestSavedStateIsBounded: another version may write anything. No backend stays away longer than
// this process would keep it away itself.
func TestSavedStateIsBounded(t *testing.T) {
	const far = 1 << 62
	wild := Saved{Saved: backend.Saved{Health: "splendid", Failures: 1 << 40, BackoffUntil: far, EjectedUntil: far, Ejections: -5},
		RisingSince: far, LastEjection: -far, Returned: far}
	for _, o := range []Options{
		{Policy: "least_conn"},
		{Policy: "least_conn", SlowStart: time.Second, Outlier: &Outlier{Failures: 1, Eject: time.Second, MaxEjected: 100}},
	} {
		members := newMembers(1, 1)
		p, err := New(members, o)
		if err != nil {
			t.Fatal(err)
		}
		b := members[0].Backend
		p.Load(b, wild, second)
		if b.BackoffUntil() > second+int64(backend.MaxBackoff) || b.EjectedUntil() > second+int64(maxEjection) {
			t.Errorf("in backoff until %d, ejected until %d", b.BackoffUntil(), b.EjectedUntil())
		}
		if o.Outlier == nil && b.Ejected() {
			t.Error("ejected by a pool that ejects none")
		}
		p.Load(new(backend.Backend), wild, second) // of another pool
		p.Tick(second + int64(maxEjection))
		if got, verdict := p.Pick(Request{Now: second + int64(maxEjection), Tried: []*backend.Backend{members[1].Backend}}); got != b {
			t.Errorf("it is never tried again: %v, %v", got, verdict)
		}
	}
}
