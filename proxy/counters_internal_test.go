package proxy

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/internal/testnet"
)

// TestCountsUnderWay sums up while loops count. No sum says that more clients have ended than were
// accepted.
func TestCountsUnderWay(t *testing.T) {
	const clients = 3_000_000
	l := &Listener{Pool: insidePool(t, balancer.Options{Policy: "first"})}
	s := new(Server)
	s.ledger.Store(newLedger(&State{Listeners: []*Listener{l}}, 2, nil))
	for i := range 2 {
		s.workers = append(s.workers, &worker{server: s, number: i})
	}
	var loops sync.WaitGroup
	loops.Go(func() { // the second loop ends what the first accepts
		c := &conn{listener: l, counts: s.workers[1].listenerCounters(l), outcome: Outcome{Side: SideClient, Reason: ReasonClosed}}
		for range clients {
			s.workers[0].listenerCounters(l).accepted.add(1)
			s.workers[1].connEnded(c, 0)
		}
	})
	for over := false; !over; {
		of := s.Counts().Listeners[0]
		if accepted, ended := of.Accepted, of.AllEnded(); ended > accepted {
			t.Fatalf("%d clients have ended, and %d were accepted", ended, accepted)
		}
		over = of.Accepted == clients
	}
	loops.Wait()
}

// TestDialsWithdrawn ends a client while two backends are dialled for it. Neither dial has a
// result.
func TestDialsWithdrawn(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in := startInside(t, engine, testnet.Listen(t, "tcp", ""), func(l *Listener, _ *Options) {
			l.Pool = insidePool(t, balancer.Options{Policy: "first"}, testnet.Silent(t), testnet.Silent(t))
		})
		w, pool := in.server.workers[0], in.listener().Pool
		testnet.Dial(t, "tcp", in.addr)
		c := in.inState(w, stateDialling)
		in.on(w, func() {
			w.startHedge(c)
			if c.hedge() == nil {
				t.Error("no second dial")
			}
			w.endAll(Outcome{Side: SideProxy, Reason: ReasonStopped})
		})
		in.ended(1, SideProxy, ReasonStopped)
		in.eventually(w, "no dial is left", func() bool { return pool.Balancer.Members()[0].Active()+pool.Balancer.Members()[1].Active() == 0 })
		for reason, n := range in.server.Counts().Pools[0].dials {
			if n != 0 {
				t.Errorf("%d dials are counted with the result %v, want 0", n, Reason(reason))
			}
		}
	})
}

// TestRulesCarryOn: the counts of a rule carry on under its name, whatever its position in the next
// list. A client of the list before is counted too.
func TestRulesCarryOn(t *testing.T) {
	deny := func(name, prefix string) acl.Rule {
		return acl.Rule{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}
	}
	old := acl.Build([]acl.Rule{deny("a", "192.0.2.1/32"), deny("b", "192.0.2.2/32")}, false)
	next := acl.Build([]acl.Rule{deny("new", "192.0.2.3/32"), {Name: "allow", Allow: true}, deny("b", "192.0.2.2/32")}, false)
	of := new(listenerCounters)
	of.rules.Store(newRuleCounters(old, nil))
	denied := func(list *acl.List, last byte) {
		of.hit(list, list.Decide(netip.AddrFrom4([4]byte{192, 0, 2, last})), int64(last))
	}
	for last := byte(1); last <= 4; last++ {
		denied(old, last)
	}
	of.rules.Store(newRuleCounters(next, of.rules.Load()))
	denied(old, 1) // its rule is gone
	denied(old, 2)
	denied(next, 2)
	denied(next, 3)
	want := []RuleCount{{"default", RuleDeny, 2, 4}, {"new", RuleDeny, 1, 3}, {"allow", RuleAllow, 0, 0}, {"b", RuleDeny, 3, 2}}
	if got := sumUp([]*listenerCounters{of}).Rules; !slices.Equal(got, want) {
		t.Errorf("denied by rule: %v, want %v", got, want)
	}
	if got := sumUp([]*listenerCounters{of, of}).Rules; got[3].Hits != 6 {
		t.Errorf("denied on two loops: %v", got)
	}
}

// TestDialFailuresAreReasons: the words that a backend counts by are those of the log.
func TestDialFailuresAreReasons(t *testing.T) {
	for errno := unix.Errno(1); errno < 140; errno++ {
		o, _ := dialOutcome(errno)
		if failure, ok := dialFailures[o.Reason]; !ok || failure.String() != o.Reason.String() {
			t.Errorf("%v: counted as %v, in the log as %v", errno, failure, o.Reason)
		}
	}
}

// TestRemovedNamesBeginAgain: what was carried over from another process does not come back with a
// listener, pool or rule that a State has removed. It would look like traffic.
func TestRemovedNamesBeginAgain(t *testing.T) {
	deny := func(names ...string) *acl.List {
		var rules []acl.Rule
		for _, name := range names {
			rules = append(rules, acl.Rule{Name: name, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
		}
		return acl.Build(rules, true)
	}
	listener := func(name, pool string, list *acl.List) *Listener {
		p := insidePool(t, balancer.Options{Policy: "first"})
		p.Name = pool
		return &Listener{Name: name, Pool: p, ACL: list}
	}
	state := func(all ...*Listener) *State { return &State{Listeners: all} }
	both := state(listener("stays", "one", deny("a", "b")), listener("goes", "two", nil))
	s := &Server{workers: []*worker{{}}}
	s.ledger.Store(newLedger(both, 1, nil))
	dials := map[string]uint64{"none": 3}
	s.CarryOn(Totals{
		Listeners: map[string]ListenerTotals{
			"stays": {Accepted: 10, Denied: map[string]uint64{"a": 1, "b": 2}, Rules: []RuleTotals{{"default", "allow", 4, 9}, {"b", "deny", 0, 8}}},
			"goes":  {Accepted: 20}, "unknown": {Accepted: 30},
		},
		Pools: map[string]map[string]uint64{"one": dials, "two": dials},
		More:  map[string]PoolTotals{"one": {Retries: 1}, "two": {Retries: 2}},
	})
	s.keepBook(newLedger(state(listener("stays", "one", deny("a"))), 1, s.ledger.Load()))
	s.keepBook(s.ledger.Load().without(nil))
	back := state(append(both.Listeners, listener("unknown", "one", nil))...)
	s.keepBook(newLedger(back, 1, s.ledger.Load()))
	counts := s.Counts()
	var accepted []uint64
	for _, l := range counts.Listeners {
		accepted = append(accepted, l.Accepted)
	}
	if want := []uint64{10, 0, 30}; !slices.Equal(accepted, want) {
		t.Errorf("accepted: %d, want %d", accepted, want)
	}
	if want := []RuleCount{{"default", RuleAllow, 4, 9}, {"a", RuleDeny, 1, 0}, {"b", RuleDeny, 0, 0}}; !slices.Equal(counts.Listeners[0].Rules, want) {
		t.Errorf("by rule: %v, want %v", counts.Listeners[0].Rules, want)
	}
	one, two := counts.Pools[0], counts.Pools[1]
	if one.Retries != 1 || one.AllDials() != 3 || two.Retries != 0 || two.AllDials() != 0 {
		t.Errorf("retries and dials: %d, %d; %d, %d", one.Retries, one.AllDials(), two.Retries, two.AllDials())
	}
}
