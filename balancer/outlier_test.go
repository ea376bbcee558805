package balancer

import (
	"net/netip"
	"testing"
	"time"

	"l4proxy/backend"
)

// ejecting returns a pool that ejects after three failures, for 10 s.
func ejecting(t *testing.T, maxEjected, n int) (tested, []*backend.Backend, *[]Event) {
	t.Helper()
	events := new([]Event)
	p, backends := newPolicyWith(t, Options{
		Policy:  "least_conn",
		Outlier: &Outlier{Failures: 3, Eject: 10 * time.Second, MaxEjected: maxEjected},
	}, newMembers(equal(n)...))
	p.Observe(func(e Event) { *events = append(*events, e) })
	return p, backends, events
}

func silent(p tested, b *backend.Backend, now int64, times int) {
	for range times {
		p.Silent(b, Silence{Asked: now, Now: now})
	}
}

func TestEjection(t *testing.T) {
	p, backends, events := ejecting(t, 50, 2)
	b := backends[0]
	silent(p, b, 1-2*second, 2)
	b.Answered(1 - second)
	silent(p, b, 0, 2)
	if b.Ejected() {
		t.Fatal("ejected although it has answered in between")
	}
	silent(p, b, 1, 1)
	if !b.Ejected() || b.EjectedUntil() != 1+10*second {
		t.Fatalf("ejected until %d", b.EjectedUntil())
	}
	if b.EjectedSince() != 1 {
		t.Errorf("ejected since %d, want 1", b.EjectedSince())
	}
	if n := picks(p, b, 2, 20); n != 0 {
		t.Errorf("%d clients went to an ejected backend", n)
	}
	if !p.Tick(10*second) || !b.Ejected() {
		t.Error("back too early")
	}
	if p.Tick(1+10*second) || b.Ejected() {
		t.Error("not back in time")
	}
	if n := picks(p, b, 11*second, 20); n == 0 {
		t.Error("no client goes to a backend whose ejection is over")
	}
	if len(*events) != 2 || (*events)[0].Kind != Ejected || (*events)[0].Count != 3 || (*events)[1].Kind != Returned {
		t.Errorf("events: %+v", *events)
	}
}

// TestSilenceOfBusyBackend makes clients wait while the backend answers others: the backend works,
// in whatever order the events are reported.
func TestSilenceOfBusyBackend(t *testing.T) {
	p, backends, _ := ejecting(t, 50, 2)
	b := backends[0]
	b.Answered(5 * second)
	for i := range 40 {
		s := Silence{Client: clientAt(i), Asked: 4 * second, Now: 20 * second, Once: time.Second}
		if p.Silent(b, s) {
			t.Fatal("a failure although the backend has answered since the client asked")
		}
		p.Balancer.Failed(b, 4*second, 20*second) // nor does a dial that was under way when it answered
	}
	if b.Suspect() || b.Ejected() {
		t.Fatal("a backend that answers is suspect")
	}
	for i := range 3 {
		s := Silence{Client: clientAt(i), Asked: 6 * second, Now: 20 * second, Once: time.Second}
		if !p.Silent(b, s) {
			t.Error("no failure although all answers came before the client asked")
		}
	}
	if b.Ejected() {
		t.Error("ejected by clients that asked before it was tried out")
	}
	p.Silent(b, Silence{Client: clientAt(9), Asked: 20*second + 1, Now: 30 * second, Once: time.Second})
	if !b.Ejected() {
		t.Error("not ejected after four clients that were not answered, one of which came later")
	}
}

// TestTrialBeforeAnEjection has clients wait on the backend that has most connections because of
// them: the next client is sent there, and decides.
func TestTrialBeforeAnEjection(t *testing.T) {
	accused := func() (tested, *backend.Backend) {
		p, backends, _ := ejecting(t, 50, 2)
		b := backends[0]
		for range 5 {
			b.Acquire()
		}
		for i := range 3 {
			p.Silent(b, Silence{Client: clientAt(i), Asked: 0, Now: second, Once: between})
		}
		if got, _ := p.Balancer.Pick(Request{Now: second}); got != b {
			t.Fatalf("the next client goes to %v", got.Address)
		}
		if got, _ := p.Balancer.Pick(Request{Now: second + 1}); got == b {
			t.Error("two clients are sent at once")
		}
		return p, b
	}
	p, b := accused()
	b.Answered(second + 2)
	p.Silent(b, Silence{Client: clientAt(7), Asked: second + 1, Now: 2 * second, Once: between})
	if b.Ejected() || b.Suspect() {
		t.Error("the answer of the trial does not clear the backend")
	}
	if got, _ := p.Balancer.Pick(Request{Now: 3 * second}); got == b {
		t.Error("a backend that has answered is tried out")
	}
	p, b = accused()
	if got, _ := p.Balancer.Pick(Request{Now: second + int64(between)}); got != b {
		t.Error("no other client is sent when the first has not decided")
	}
	p.Silent(b, Silence{Client: clientAt(7), Asked: second + 1, Now: 2 * second, Once: between})
	if !b.Ejected() {
		t.Error("not ejected although the trial's client waits too")
	}
}

// between is the time in which the silences of one client count once.
const between = 100 * time.Millisecond

// TestFullBackendNeedsNoTrial: no other client can be sent to it.
func TestFullBackendNeedsNoTrial(t *testing.T) {
	p, backends, _ := ejecting(t, 50, 2)
	b := backends[0]
	p.limit(b, 3)
	for i := range 3 {
		b.Acquire()
		p.Silent(b, Silence{Client: clientAt(i), Asked: 0, Now: second, Once: between})
	}
	if !b.Ejected() {
		t.Error("not ejected")
	}
}

// TestSilencesOfOneClient makes one client wait on many connections: between two looks, that is one
// failure.
func TestSilencesOfOneClient(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		same                bool
	}{
		{"one_address", "192.0.2.1", "192.0.2.1", true},
		{"two_addresses", "192.0.2.1", "192.0.2.2", false},
		{"one_network", "2001:db8::1", "2001:db8::ffff:2", true},
		{"two_networks", "2001:db8::1", "2001:db8:0:1::1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, backends, _ := ejecting(t, 50, 2)
			silence := func(client string, now int64) bool {
				return p.Silent(backends[0], Silence{Client: netip.MustParseAddr(client), Now: now, Once: time.Second})
			}
			if !silence(test.first, 10*second) {
				t.Error("the first does not count")
			}
			if got := silence(test.second, 11*second-1); got == test.same {
				t.Errorf("the second counts: %v", got)
			}
			if !silence(test.first, 11*second) {
				t.Error("the first does not count at the next look")
			}
		})
	}
	p, backends, _ := ejecting(t, 1, 2) // nothing is ever ejected
	for i := range 10 * maxSilences {
		p.Silent(backends[0], Silence{Client: clientAt(i), Once: time.Hour})
	}
	if n := len(p.order[0].silences); n > maxSilences {
		t.Errorf("%d silences are kept", n)
	}
}

// TestEjectionsGrow holds that a backend which fails again soon is ejected for longer, up to a
// bound, and that a backend which has worked for a long time starts from the first ejection again.
func TestEjectionsGrow(t *testing.T) {
	p, backends, _ := ejecting(t, 50, 2)
	b := backends[0]
	now := int64(0)
	for i := range 40 {
		silent(p, b, now, 3)
		want := min(int64(i+1)*10*second, int64(maxEjection))
		if got := b.EjectedUntil() - now; got != want {
			t.Fatalf("ejection %d lasts %v", i, time.Duration(got))
		}
		now = b.EjectedUntil()
		p.Tick(now)
		now += second
	}
	now += 3 * int64(maxEjection)
	silent(p, b, now, 3)
	if got := b.EjectedUntil() - now; got != 10*second {
		t.Errorf("ejected for %v after it was well for long", time.Duration(got))
	}
}

func TestFailedDialsEject(t *testing.T) {
	p, backends, _ := ejecting(t, 50, 2)
	b := backends[0]
	failFirst(t, p, backends, 0, 0)
	silent(p, b, 0, 2)
	if !b.Ejected() {
		t.Fatal("not ejected after a failed dial and two silent connections")
	}
	if n := picks(p, b, 5*second, 20); n != 0 {
		t.Errorf("%d clients probed an ejected backend", n)
	}
	p.Tick(10 * second)
	if n := picks(p, b, 10*second, 20); n != 1 {
		t.Errorf("%d clients probed it, want 1", n)
	}
}

func TestMaxEjected(t *testing.T) {
	for _, test := range []struct{ percent, n, want int }{
		{50, 2, 1}, {50, 3, 1}, {50, 1, 0}, {100, 3, 3}, {34, 3, 1}, {10, 5, 0}, {10, 10, 1},
	} {
		p, backends, _ := ejecting(t, test.percent, test.n)
		got := 0
		for _, b := range backends {
			silent(p, b, 0, 5)
			if b.Ejected() {
				got++
			}
		}
		if got != test.want {
			t.Errorf("%d of %d were ejected with max_ejected %d%%, want %d", got, test.n, test.percent, test.want)
		}
		if n := p.Stats().Ejections; n != uint64(got) {
			t.Errorf("%d ejections are counted, and there were %d", n, got)
		}
		if p.Pick(0, nil) == nil {
			t.Errorf("nothing is picked when %d of %d are ejected", got, test.n)
		}
	}
}

// TestPanicThreshold holds that with too few usable ones all are used, and that this ends.
func TestPanicThreshold(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "least_conn", PanicThreshold: 50}, newMembers(equal(4)...))
	p.SetHealth(backends[0], backend.HealthDown, 0)
	among(t, "three of four", p, 0, 1, 2, 3)
	p.SetHealth(backends[1], backend.HealthDown, 0)
	among(t, "two of four", p, 0, 0, 1, 2, 3)
	if !p.Stats().Panicking || p.Stats().Usable != 2 {
		t.Errorf("stats = %+v", p.Stats())
	}
	for _, b := range backends {
		p.SetHealth(b, backend.HealthDown, 0)
	}
	among(t, "none of four", p, 0, 0, 1, 2, 3)
	if !p.CanServe() {
		t.Error("no backend can serve although all are used")
	}
	for _, b := range backends[1:] {
		p.SetHealth(b, backend.HealthUp, 0)
	}
	among(t, "three of four again", p, 0, 1, 2, 3)
}

func TestAllDown(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		p, backends := newPolicy(t, name, 1, 1)
		p.SetHealth(backends[0], backend.HealthDown, 0)
		if !p.CanServe() {
			t.Error("no backend can serve although one is not down")
		}
		p.SetHealth(backends[1], backend.HealthDown, 0)
		if p.CanServe() {
			t.Error("a backend can serve although all are down")
		}
		if b := p.Pick(0, nil); b != nil {
			t.Errorf("picked %s, which is down", b.Address)
		}
		p.SetHealth(backends[1], backend.HealthUp, 0)
		if b := p.Pick(0, nil); b != backends[1] {
			t.Errorf("picked %v, want the one that is up", b)
		}
	})
}

// TestHealthEndsBackoff holds that checks which pass are an answered dial.
func TestHealthEndsBackoff(t *testing.T) {
	p, backends := newPolicy(t, "least_conn", 1, 1)
	failFirst(t, p, backends, 0, 0)
	p.SetHealth(backends[0], backend.HealthDown, 0)
	if n := picks(p, backends[0], 10*second, 10); n != 0 {
		t.Errorf("%d clients probed one that is down", n)
	}
	p.SetHealth(backends[0], backend.HealthUp, 0)
	if backends[0].InBackoff() {
		t.Error("still in backoff")
	}
}
