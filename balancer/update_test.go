package balancer

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
)

// update gives a pool other members, with its options.
func (p tested) update(t testing.TB, now int64, members ...Member) {
	t.Helper()
	if err := p.Update(members, p.options, now); err != nil {
		t.Fatal(err)
	}
	for i, m := range members {
		p.indexes[m.Backend] = i
	}
}

func TestUpdateRefuses(t *testing.T) {
	members := newMembers(1, 1)
	p, backends := newPolicyWith(t, Options{Policy: "first"}, members)
	p.Pick(0, nil)
	for name, update := range map[string]struct {
		members []Member
		options Options
	}{
		"policy": {nil, Options{Policy: "best"}},
		"weight": {newMembers(1, 0), Options{Policy: "first"}},
		"rise":   {newMembers(1024), Options{Policy: "first", SlowStart: 1}},
		"twice":  {[]Member{members[0], members[0]}, Options{Policy: "first"}},
	} {
		if p.Update(update.members, update.options, 0) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if b := p.Pick(0, nil); b != backends[0] || b.Active() != 2 {
		t.Errorf("picked %v, want the first one with two connections", b)
	}
}

// TestTurnsSurviveAnUpdate has an Update before each pick, in turns with another member before all
// others and without it.
func TestTurnsSurviveAnUpdate(t *testing.T) {
	for _, test := range []struct {
		policy  string
		weights []int
	}{
		{"round_robin", []int{1, 1, 1, 1}},
		{"round_robin", []int{4, 2, 1}},
		{"least_conn", []int{1, 1, 1, 1}},
		{"random", []int{1, 1, 1, 1}},
		{"p2c", []int{1, 1, 1, 1}},
	} {
		t.Run(test.policy, func(t *testing.T) {
			const cycles = 200
			members := newMembers(test.weights...)
			p, backends := newPolicyWith(t, Options{Policy: test.policy, Seed: 1}, members)
			sum := 0
			for _, w := range test.weights {
				sum += w
			}
			counts := make([]uint64, len(members))
			for i := range cycles * sum {
				guest := Member{Backend: &backend.Backend{Address: "guest"}, Weight: 3}
				if i%2 == 0 {
					p.update(t, 0, append([]Member{guest}, members...)...)
				} else {
					p.update(t, 0, members...)
				}
				b := p.Pick(0, []*backend.Backend{guest.Backend}) // it takes no turns
				counts[slices.Index(backends, b)]++
				p.Done(b)
			}
			for i, w := range test.weights {
				got, want := int(counts[i]), cycles*w
				if off := got - want; spreadsEvenly(test.policy) && (off > 1 || off < -1) {
					t.Errorf("weight %d was picked %d times, want %d", w, got, want)
				}
			}
			if !spreadsEvenly(test.policy) {
				checkShares(t, counts, test.weights)
			}
		})
	}
}

// TestUpdateMovesOnlyItsOwnKeys has members of one weight come and go, under policies that hash the
// client.
func TestUpdateMovesOnlyItsOwnKeys(t *testing.T) {
	eachHashPolicy(t, func(t *testing.T, name string) {
		const n, clients = 20, 5000
		members := renamed(0, equal(n+1)...)
		p, _ := newPolicyWith(t, Options{Policy: name, HashSeed: "seed"}, members[:n])
		where := func() (all []*backend.Backend) {
			for i := range clients {
				b, _ := p.Balancer.Pick(Request{Client: clientAt(i)})
				p.Done(b)
				all = append(all, b)
			}
			return all
		}
		before := where()
		p.update(t, 0, members...)
		with := where()
		rand.New(rand.NewPCG(1, 0)).Shuffle(n, func(i, k int) { members[i], members[k] = members[k], members[i] })
		p.update(t, 0, members[:n]...)
		after := where()
		others, returned := 0, 0
		for i := range clients {
			if with[i] != before[i] && with[i] != members[n].Backend {
				others++
			}
			if after[i] == before[i] {
				returned++
			}
		}
		most := 0
		if name == "maglev" {
			most = clients * 15 / 1000 // see TestTableOfANewConfiguration
		}
		if others > most {
			t.Errorf("%d of %d clients moved among the others, want at most %d", others, clients, most)
		}
		if returned != clients {
			t.Errorf("%d of %d clients are where they were before", returned, clients)
		}
	})
}

// TestNewMembersStartSlowly holds when they do: beside others that have their connections, and not
// alone.
func TestNewMembersStartSlowly(t *testing.T) {
	members := newMembers(1, 1, 1, 1)
	p, _ := newPolicyWith(t, Options{Policy: "round_robin", SlowStart: 10 * time.Second}, members[:2])
	if p.Tick(0) {
		t.Error("a pool starts slowly as a whole")
	}
	p.update(t, 0, members[:3]...)
	if counts := spread(p, 0, 210); counts[2] < 9 || counts[2] > 10 {
		t.Errorf("the new one has %d of 210 connections, want a tenth of another's", counts[2])
	}
	p.update(t, 5*second, members[1:3]...)
	if counts := spread(p, 5*second, 150); counts[1] < 49 || counts[1] > 51 {
		t.Errorf("after half of the time it has %d of 150 connections, want half of another's", counts[1])
	}
	p.update(t, 5*second, members[3])
	if p.Tick(5 * second) {
		t.Error("the only one starts slowly")
	}
}

// TestTrialSurvivesAnUpdate: the backend still gets its client.
func TestTrialSurvivesAnUpdate(t *testing.T) {
	members := newMembers(1, 1)
	p, backends := newPolicyWith(t, Options{
		Policy: "least_conn", Outlier: &Outlier{Failures: 1, Eject: 10 * time.Second, MaxEjected: 50},
	}, members)
	b := backends[0]
	for range 5 {
		b.Acquire()
	}
	p.Silent(b, Silence{Client: clientAt(1), Now: second, Once: between})
	p.update(t, second, members...)
	if got, _ := p.Balancer.Pick(Request{Now: second}); got != b {
		t.Errorf("the client goes to %s", got.Address)
	}
	p.Silent(b, Silence{Client: clientAt(2), Asked: second + 1, Now: 2 * second, Once: between})
	p.update(t, 2*second, members[1], members[0])
	if !b.Ejected() || b.EjectedUntil() != 12*second {
		t.Errorf("ejected until %d", b.EjectedUntil())
	}
	if p.Tick(12*second) || b.Ejected() {
		t.Error("the ejection does not end in time")
	}
}

// TestProbeSurvivesAnUpdate: there is one at a time, and the last resorts take turns.
func TestProbeSurvivesAnUpdate(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		members := newMembers(1, 1)
		p, backends := newPolicyWith(t, Options{Policy: name}, members)
		failFirst(t, p, backends, 0, 0)
		if picks(p, backends[0], second, 10) != 1 {
			t.Fatal("not probed")
		}
		p.update(t, second, members...)
		if n := picks(p, backends[0], second, 10); n != 0 {
			t.Errorf("%d clients probed it beside the first", n)
		}
		fails(p, backends[0], second)
		failFirst(t, p, backends, 1, second)
		for i := range 4 {
			p.update(t, second, members...)
			if b := p.Pick(second, nil); b != backends[i%2] {
				t.Fatalf("the last resort is %s, want %s", b.Address, backends[i%2].Address)
			}
		}
	})
}

func TestMembersThatLeave(t *testing.T) {
	members := newMembers(1, 1)
	for i := range members {
		members[i].MaxConnections = 1
	}
	p, backends := newPolicyWith(t, Options{
		Policy: "first", Queue: 5, Outlier: &Outlier{Failures: 1, Eject: 10e9, MaxEjected: 50},
	}, members)
	gone, stays := backends[0], backends[1]
	p.Pick(0, nil)
	p.Pick(0, nil)
	w := waits(t, p, Request{})
	p.Silent(gone, Silence{})
	p.update(t, 0, members[1])
	if gone.Ejected() || gone.Active() != 1 {
		t.Errorf("the one that left is ejected %t, with %d connections", gone.Ejected(), gone.Active())
	}
	p.Failed(gone, 0)
	p.OK(gone)
	p.TooSlow(gone, 0, 0)
	p.SetHealth(gone, backend.HealthDown, 0)
	if p.Silent(gone, Silence{}) || gone.InBackoff() || !p.CanServe() {
		t.Error("what is reported of the one that left makes a difference")
	}
	if b, _ := p.Balancer.Pick(Request{Beside: gone}); b != nil {
		t.Errorf("picked %s beside one that left", b.Address)
	}
	p.Done(gone)
	if gone.Active() != 0 || w.one(t) != nil {
		t.Error("the end of its connection serves the queue")
	}
	p.Done(stays)
	if w.one(t) != stays {
		t.Error("the client in the queue was lost")
	}
}

// TestUpdateServesTheQueue in order, also when it is too long now.
func TestUpdateServesTheQueue(t *testing.T) {
	members := newMembers(1, 1)
	members[0].MaxConnections = 1
	p, backends := newPolicyWith(t, Options{Policy: "first", Queue: 5}, members[:1])
	p.Pick(0, nil)
	var all []*waiter
	for range 4 {
		all = append(all, waits(t, p, Request{}))
	}
	members[0].MaxConnections = 2
	if err := p.Update(members[:1], Options{Policy: "least_conn", Queue: 1}, 0); err != nil {
		t.Fatal(err)
	}
	if all[0].one(t) != backends[0] || all[1].one(t) != nil {
		t.Fatal("not one client was served for one connection more")
	}
	if _, verdict := p.Balancer.Pick(Request{Waiter: new(waiter)}); verdict != QueueFull {
		t.Errorf("verdict %d with three clients in a queue of one", verdict)
	}
	p.update(t, 0, members...)
	for i, w := range all[1:] {
		if w.one(t) != members[1].Backend {
			t.Errorf("client %d has %v", 1+i, w.one(t))
		}
	}
}

// TestOutlierEndsByUpdate: without it, nothing of it is left.
func TestOutlierEndsByUpdate(t *testing.T) {
	p, backends, events := ejecting(t, 50, 2)
	silent(p, backends[0], 0, 3)
	silent(p, backends[1], 0, 2)
	members := []Member{p.order[0].Member, p.order[1].Member}
	if err := p.Update(members, Options{Policy: "first"}, 0); err != nil {
		t.Fatal(err)
	}
	if backends[0].Ejected() || backends[1].Suspect() || p.Ejects() || p.Tick(0) {
		t.Error("something is left of the ejections")
	}
	if n := len(*events); n != 2 || (*events)[1].Kind != Returned {
		t.Errorf("events: %+v", *events)
	}
	silent(p, backends[1], 0, 3)
	if backends[1].Ejected() {
		t.Error("ejected without the option")
	}
}

func TestAdopt(t *testing.T) {
	members := newMembers(1, 1)
	members[0].MaxConnections = 2
	p, backends := newPolicyWith(t, Options{Policy: "least_conn"}, members)
	for range 3 {
		p.Adopt(backends[0])
	}
	for range 10 {
		if b := p.Pick(0, nil); b != backends[1] {
			t.Fatalf("picked %s, which has more than its limit", b.Address)
		}
	}
	p.Done(backends[0])
	p.Done(backends[0])
	if b := p.Pick(0, nil); b != backends[0] {
		t.Errorf("picked %s, want the one with one of two connections", b.Address)
	}
	p.Adopt(&backend.Backend{}) // of another pool
}

// TestObserve sets the observer of a live pool, and takes it away again.
func TestObserve(t *testing.T) {
	p, backends := newPolicyWith(t, Options{Policy: "first"}, newMembers(1))
	var got []EventKind
	for range 2 {
		fails(p, p.Pick(0, nil), 0)
		p.OK(backends[0])
		p.Observe(func(e Event) { got = append(got, e.Kind) })
	}
	p.Observe(nil)
	fails(p, p.Pick(0, nil), 0)
	if want := []EventKind{BackedOff, Recovered}; !slices.Equal(got, want) {
		t.Errorf("observed %v, want %v", got, want)
	}
	if n := p.Stats().Backoffs; n != 3 {
		t.Errorf("%d backoffs are counted, want 3: those that nothing observes count too", n)
	}
}

// TestUpdateAcrossLoops updates a pool while loops pick, wait and end: no limit is exceeded, no
// client is lost, and in the end nothing is counted.
func TestUpdateAcrossLoops(t *testing.T) {
	eachPolicy(t, func(t *testing.T, name string) {
		const loops, each, most = 4, 300, 2
		members := newMembers(1, 2, 3, 4)
		for i := range members {
			members[i].MaxConnections = most
		}
		o := Options{Policy: name, Queue: loops}
		p, _ := newPolicyWith(t, o, members)
		var picking, updating sync.WaitGroup
		stop := make(chan struct{})
		updating.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				some := slices.Clone(members[:1+i%len(members)])
				if o.SlowStart = 0; i%2 == 0 {
					o.SlowStart = time.Second
				}
				if err := p.Update(some, o, int64(i)); err != nil {
					t.Error(err)
				}
			}
		})
		for range loops {
			picking.Go(func() {
				for range each {
					turn := make(chan *backend.Backend, 1)
					b, verdict := p.Balancer.Pick(Request{Waiter: turnOn(turn)})
					if verdict == Waiting {
						b = <-turn
					}
					if b == nil {
						t.Errorf("verdict %d", verdict)
						return
					}
					if n := b.Active(); n > most {
						t.Errorf("%d connections on one that takes %d", n, most)
					}
					p.Done(b)
				}
			})
		}
		picking.Wait()
		close(stop)
		updating.Wait()
		for _, m := range members {
			if m.Active() != 0 {
				t.Errorf("%d connections are left", m.Active())
			}
		}
	})
}

// Members are those of the last Update that was accepted, in its order.
func TestMembers(t *testing.T) {
	first, second := newMembers(1, 2), newMembers(3)
	p, _ := newPolicyWith(t, Options{Policy: "first"}, first)
	if got := p.Members(); !slices.Equal(got, first) {
		t.Errorf("%v, want %v", got, first)
	}
	second = append(second, first[1])
	p.update(t, 0, second...)
	if p.Update(newMembers(0), Options{Policy: "first"}, 0) == nil {
		t.Error("a weight of 0 is accepted")
	}
	got := p.Members()
	if !slices.Equal(got, second) {
		t.Errorf("%v, want %v", got, second)
	}
	got[0].Weight = 7
	if p.Members()[0].Weight != 3 {
		t.Error("a change of the result is one of the pool")
	}
}

// TestFind holds that Find looks at the members in their order, and only at them.
func TestFind(t *testing.T) {
	p, backends := newPolicy(t, "first", 1, 1, 1)
	var seen []*backend.Backend
	found := p.Find(func(b *backend.Backend) bool {
		seen = append(seen, b)
		return b == backends[1]
	})
	if found != backends[1] || len(seen) != 2 || seen[0] != backends[0] {
		t.Errorf("found %v after %d looks", found, len(seen))
	}
	if found := p.Find(func(*backend.Backend) bool { return false }); found != nil {
		t.Errorf("found %v", found)
	}
}
