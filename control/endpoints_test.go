package control

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/discovery"
	"l4proxy/proxy"
)

const namedPool = `
listeners: {front: {bind: "127.0.0.1:1"}}
pools:
  back:
    backends: [{address: "db.test:80", weight: 3, max_connections: 7, backup: true}, "192.0.2.99:1"]
    health: {interval: 1s}
    on_removed: close
`

// inNamedWorld runs a test in a world in which db.test has these addresses.
func inNamedWorld(t *testing.T, yaml string, addresses []string, test func(t *testing.T, w *world)) {
	t.Helper()
	server := names{known: map[string][]string{"db.test": addresses, "srv:_db._tcp.test": addresses}}
	inWorldWith(t, server.lookup, nil, yaml, test)
}

// update sets the endpoints of a source of the pool back.
func (w *world) update(source string, generation uint64, addresses ...string) EndpointResult {
	w.t.Helper()
	r, err := w.live.SetEndpoints(EndpointUpdate{Pool: "back", Source: source,
		Endpoints: discovery.Endpoints{Generation: generation, List: endpoints(addresses...)}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.pass(0)
	return r
}

// backends are the addresses of the pool back, in order.
func (w *world) backends() string {
	var list []string
	for _, m := range w.live.pools["back"].balancer.Members() {
		list = append(list, m.Address)
	}
	return strings.Join(list, " ")
}

func (w *world) has(want string) {
	w.t.Helper()
	if got := w.backends(); got != want {
		w.t.Errorf("backends %s, want %s", got, want)
	}
}

// Each address is a backend with what the entry says, and is checked.
func TestANameIsSeveralBackends(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1", "2001:db8::1"}, func(t *testing.T, w *world) {
		w.has("10.0.0.1:80 [2001:db8::1]:80 192.0.2.99:1")
		for _, m := range w.live.pools["back"].balancer.Members()[:2] {
			if m.Weight != 3 || m.MaxConnections != 7 || m.Priority != backupPriority {
				t.Errorf("%s: %+v", m.Address, m)
			}
		}
		w.pass(time.Second)
		for _, a := range []string{"10.0.0.1:80", "[2001:db8::1]:80", "192.0.2.99:1"} {
			if w.checks(a) == 0 {
				t.Errorf("%s was not checked", a)
			}
		}
	})
}

// What stays keeps its object, its connections and its health. What is gone is treated as
// on_removed says, and what is new is checked.
func TestEndpointsChange(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1", "10.0.0.2"}, func(t *testing.T, w *world) {
		w.pass(10 * time.Second)
		pool := w.live.pools["back"]
		before := pool.balancer.Members()
		for _, m := range before {
			pool.balancer.Adopt(m.Backend)
		}
		w.logs()
		r := w.update("db.test:80", 1, "10.0.0.3", "10.0.0.2")
		if want := (EndpointResult{
			Added: []string{"10.0.0.3:80"}, Removed: []string{"10.0.0.1:80"}, HeldBack: []string{}, Refused: []string{},
		}); !reflect.DeepEqual(r, want) {
			t.Errorf("%+v, want %+v", r, want)
		}
		w.has("10.0.0.2:80 10.0.0.3:80 192.0.2.99:1")
		after := pool.balancer.Members()
		if after[0].Backend != before[1].Backend || after[2].Backend != before[2].Backend || after[0].Active() != 1 {
			t.Error("a backend that stays was made again")
		}
		if e := w.evicted(); len(e) != 1 || e[0].Backend != before[0].Backend || e[0].Reason != proxy.ReasonBackendRemoved {
			t.Errorf("evicted %+v, want the connections of 10.0.0.1", e)
		}
		w.logged(`level=INFO msg="backends changed" pool=back name=db.test:80 added=[10.0.0.3:80] removed=[10.0.0.1:80] backends=3`)
		w.pass(time.Second)
		if w.checks("10.0.0.3:80") == 0 {
			t.Error("the new backend is not checked")
		}
		if w.state.Listeners[0].Pool.Balancer != w.live.pools["back"].balancer {
			t.Error("the State picks from another balancer")
		}
	})
}

func TestOldGenerationsAreIgnored(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		w.update("db.test:80", 7, "10.0.0.2")
		for _, generation := range []uint64{7, 6, 0} {
			if r := w.update("db.test:80", generation, "10.0.0.3"); !r.Stale {
				t.Errorf("generation %d: %+v", generation, r)
			}
		}
		w.has("10.0.0.2:80 192.0.2.99:1")
		w.update("db.test:80", 8, "10.0.0.3")
		w.has("10.0.0.3:80 192.0.2.99:1")
	})
}

// An update has a limit, which a name never reaches.
func TestTooManyEndpoints(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		u := EndpointUpdate{Pool: "back", Source: "db.test:80"}
		u.Generation, u.List = 1, make([]discovery.Endpoint, maxEndpoints+1)
		_, err := w.live.SetEndpoints(u)
		if want := "10001 endpoints for db.test:80 of the pool back: at most 10000"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		w.has("10.0.0.1:80 192.0.2.99:1")
	})
}

func TestUnknownSources(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		for source, want := range map[[2]string]string{
			{"nosuch", "db.test:80"}: `there is no pool "nosuch"`,
			{"back", "other:80"}:     `the pool back has no backend "other:80" whose addresses can change`,
			{"back", "192.0.2.99:1"}: `the pool back has no backend "192.0.2.99:1" whose addresses can change`,
		} {
			_, err := w.live.SetEndpoints(EndpointUpdate{Pool: source[0], Source: source[1], Endpoints: discovery.Endpoints{Generation: 1}})
			if err == nil || err.Error() != want {
				t.Errorf("%v: %v, want %s", source, err, want)
			}
		}
	})
}

// An empty answer changes nothing, whatever the pool has besides.
func TestAPoolIsNeverEmptied(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		if r := w.update("db.test:80", 1); !r.Empty {
			t.Errorf("%+v", r)
		}
		w.has("10.0.0.1:80 192.0.2.99:1")
	})
}

// Two entries that stand for one endpoint are one backend, with the settings of the first. It stays
// the same backend when only one of them still stands for it.
func TestOneEndpointOfTwoEntries(t *testing.T) {
	server := names{known: map[string][]string{"a.test": {"192.0.2.1"}, "b.test": {"192.0.2.1", "192.0.2.2"}}}
	inWorldWith(t, server.lookup, nil, `
listeners: {front: {bind: "127.0.0.1:1"}}
pools: {back: {backends: [{address: "a.test:80", weight: 5}, {address: "b.test:80", weight: 6}, "192.0.2.2:80"]}}
`, func(t *testing.T, w *world) {
		w.has("192.0.2.1:80 192.0.2.2:80")
		before := w.live.pools["back"].balancer.Members()
		if before[0].Weight != 5 || before[1].Weight != 6 {
			t.Errorf("%+v", before)
		}
		w.update("a.test:80", 1, "192.0.2.3")
		w.update("b.test:80", 2, "192.0.2.1")
		w.has("192.0.2.3:80 192.0.2.1:80 192.0.2.2:80")
		after := w.live.pools["back"].balancer.Members()
		if after[1].Backend != before[0].Backend || after[2].Backend != before[1].Backend || after[1].Weight != 6 || after[2].Weight != 1 {
			t.Errorf("%+v, was %+v", after, before)
		}
		if e := w.evicted(); len(e) != 0 {
			t.Errorf("evicted %+v", e)
		}
	})
}

func TestFamily(t *testing.T) {
	pool := strings.Replace(namedPool, "on_removed: close", "resolve: {family: ipv4}", 1)
	inNamedWorld(t, pool, []string{"10.0.0.1", "2001:db8::1"}, func(t *testing.T, w *world) {
		w.has("10.0.0.1:80 192.0.2.99:1")
		w.update("db.test:80", 1, "2001:db8::1", "10.0.0.2")
		w.has("10.0.0.2:80 192.0.2.99:1")
		if r := w.update("db.test:80", 2, "2001:db8::1"); !r.Empty {
			t.Errorf("%+v", r)
		}
		w.apply(strings.Replace(pool, "ipv4", "any", 1))
		w.has("10.0.0.1:80 [2001:db8::1]:80 192.0.2.99:1") // what the plan says
	})
	cfg := parse(t, strings.Replace(pool, "ipv4", "ipv6", 1))
	server := names{known: map[string][]string{"db.test": {"10.0.0.1"}}}
	_, err := Build(cfg, Gather(t.Context(), cfg, server.lookup))
	if want := "config.yaml:5:26: pool back, backend db.test:80: cannot resolve the name: it has no address of the family ipv6"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// SRV records have priorities, weights and ports, and checks use their hosts.
func TestServiceEntry(t *testing.T) {
	records := []discovery.Endpoint{
		{IP: netip.MustParseAddr("10.0.0.1"), Port: 81, Host: "a.test", Priority: 10, Weight: 0},
		{IP: netip.MustParseAddr("10.0.0.2"), Port: 82, Host: "b.test", Priority: 10, Weight: 60000},
		{IP: netip.MustParseAddr("10.0.0.3"), Port: 83, Host: "c.test", Priority: 65000, Weight: 30000},
	}
	for i := range 12 {
		records = append(records, discovery.Endpoint{IP: netip.MustParseAddr("10.0.1.1"), Port: uint16(100 + i), Priority: uint16(100 + i), Weight: 1})
	}
	for first, want := range map[uint8][]uint8{0: {0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9}, 8: {8, 8, 9, 9}, 10: {10, 10, 23, 11, 12}} {
		e := EntryPlan{Address: "srv:_db._tcp.test", Member: balancer.Member{Weight: 1, Priority: first, MaxConnections: 4},
			Source: &SourcePlan{Name: discovery.Name{Host: "_db._tcp.test", SRV: true}}, Endpoints: records}
		for i, b := range e.backends()[:len(want)] {
			if b.Priority != want[i] || b.MaxConnections != 4 {
				t.Errorf("from %d: %s has the priority %d, want %d", first, b.Name, b.Priority, want[i])
			}
		}
	}
	e := EntryPlan{Member: balancer.Member{Weight: 1}, Source: &SourcePlan{Name: discovery.Name{SRV: true}}, Endpoints: records[:3]}
	for i, want := range []struct {
		address, host string
		weight        int
	}{{"10.0.0.1:81", "a.test", 1}, {"10.0.0.2:82", "b.test", 1000}, {"10.0.0.3:83", "c.test", 500}} {
		b := e.backends()[i]
		if b.Name != want.address || b.target.Name != want.host || b.target.Addr.String() != want.address || b.Weight != want.weight {
			t.Errorf("%+v, want %+v", b, want)
		}
	}
}

// A name that moves to the proxy itself would have it connect to itself without an end.
func TestOwnListenersAreRefused(t *testing.T) {
	server := names{known: map[string][]string{"srv:_db._tcp.test": {"10.0.0.1:80"}}}
	inWorldWith(t, server.lookup, nil, ownListeners, func(t *testing.T, w *world) {
		for address, refused := range map[string]bool{
			"127.0.0.1:80": true, "127.0.0.1:81": true, "127.9.9.9:81": true, "[::1]:81": true, "127.0.0.1:82": true, "[::1]:82": false,
			"[::1]:83": true, "127.0.0.1:83": true, "127.0.0.1:90": true, "127.0.0.1:91": false, "10.0.0.1:80": false, "192.0.2.1:81": false,
		} {
			w.logs()
			w.live.pools["back"].sources = map[string]sourceState{}
			r := w.update("srv:_db._tcp.test", 1, address, "10.0.0.7:7")
			if got := slices.Contains(r.Refused, address); got != refused {
				t.Errorf("%s: refused %v, want %v", address, got, refused)
			}
			if warned := strings.Contains(w.logs(), "addresses ignored: the proxy listens there itself"); warned != refused {
				t.Errorf("%s: a warning %v, want %v", address, warned, refused)
			}
			if used := strings.Contains(w.backends(), address); used == refused {
				t.Errorf("%s: refused %v, but backends are %s", address, refused, w.backends())
			}
		}
	})
}

const ownListeners = `
listeners:
  front: {bind: ["127.0.0.1:80", ":81", "0.0.0.0:82", "[::]:83", "127.0.0.1:84"], pool: back}
  way: {bind: "127.0.0.1:90", pool: way}
  other: {bind: "127.0.0.1:91", pool: other}
pools:
  back: {backends: ["srv:_db._tcp.test"], endpoints: {max_removed: 100%}}
  way: {backends: ["127.0.0.1:84"]}
  other: {backends: ["10.9.9.9:1"]}
`

// directoryOf is a Directory whose names have the addresses of a names, with the TTL of 5s.
func directoryOf(n *names) *discovery.Directory {
	return discovery.NewDirectory(func(ctx context.Context, name discovery.Name) (discovery.Answer, error) {
		list, err := n.lookup(ctx, name)
		return discovery.Answer{Endpoints: list, TTL: 5 * time.Second}, err
	})
}

func (n *names) set(host string, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if addresses == nil {
		delete(n.known, host)
		return
	}
	n.known[host] = addresses
}

// While Run runs, names are followed, from the first plan to the last.
func TestNamesAreFollowed(t *testing.T) {
	server := &names{known: map[string][]string{"db.test": {"10.0.0.1"}, "new.test": {"10.1.0.1"}}}
	d := directoryOf(server)
	inWorldWith(t, d.Lookup, d, namedPool, func(t *testing.T, w *world) {
		d.LogTo(w.live.log)
		server.set("db.test", "10.0.0.2")
		w.pass(6 * time.Second)
		w.has("10.0.0.2:80 192.0.2.99:1")
		server.set("db.test")
		w.pass(time.Hour)
		w.has("10.0.0.2:80 192.0.2.99:1")
		w.logged("cannot resolve the name, keeping its last addresses")
		w.apply(namedPool) // needs no answer
		w.has("10.0.0.2:80 192.0.2.99:1")
		st := w.live.Names()
		if len(st) != 1 || st[0].Pool != "back" || st[0].Backend != "db.test:80" || !slices.Equal(st[0].Addresses, []string{"10.0.0.2"}) || st[0].Error == "" {
			t.Errorf("status %+v", st)
		}
		server.set("db.test", "10.0.0.3")
		w.pass(30 * time.Second)
		w.has("10.0.0.3:80 192.0.2.99:1")
		w.apply(strings.Replace(namedPool, "db.test", "new.test", 1))
		w.has("10.1.0.1:80 192.0.2.99:1")
		server.set("new.test", "10.1.0.2")
		asked := server.count("db.test")
		w.pass(6 * time.Second)
		w.has("10.1.0.2:80 192.0.2.99:1")
		if n := server.count("db.test"); n != asked {
			t.Error("a name that is no longer in the configuration is still followed")
		}
	})
}

func (n *names) count(host string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[host]
}

// Updates from many goroutines, with plans between them, end in the state of the newest one.
func TestUpdatesAtOnce(t *testing.T) {
	live := NewLive(slog.New(slog.DiscardHandler))
	server := names{known: map[string][]string{"db.test": {"10.0.0.1"}}}
	p := plan(t, parse(t, namedPool), server.lookup)
	apply := func() {
		if err := live.Apply(p, func(*proxy.State) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	apply()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 100 {
				generation := uint64(1 + 4*i + g)
				_, err := live.SetEndpoints(EndpointUpdate{Pool: "back", Source: "db.test:80", Endpoints: discovery.Endpoints{
					Generation: generation, List: endpoints(fmt.Sprintf("10.1.%d.%d", generation/200, generation%200)),
				}})
				if err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					apply()
				}
			}
		})
	}
	all.Wait()
	if m := live.pools["back"].balancer.Members(); len(m) != 2 || m[0].Address != "10.1.2.0:80" {
		t.Errorf("%+v", m)
	}
}

// A reload that removes a name says how many connections its addresses have together.
func TestConnectionsOfAName(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1", "10.0.0.2"}, func(t *testing.T, w *world) {
		for _, m := range w.live.pools["back"].balancer.Members() {
			w.live.pools["back"].balancer.Adopt(m.Backend)
		}
		now := w.live.load()
		if n := now.backends[backendName{"back", "db.test:80"}]; n != 2 || now.backends[backendName{"back", "192.0.2.99:1"}] != 1 || now.pools["back"] != 3 {
			t.Errorf("%+v", now)
		}
	})
}

// A drain of a name covers all its addresses, including those that it gets later. An address that
// comes from another entry is drained no more.
func TestDrainOfAName(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		states := func() string {
			var list []string
			for _, m := range w.live.pools["back"].balancer.Members() {
				list = append(list, m.Address+" "+m.Admin().String())
			}
			return strings.Join(list, ", ")
		}
		if _, err := w.live.SetBackend("back", "db.test:80", backend.AdminDrain, DrainOptions{}); err != nil {
			t.Fatal(err)
		}
		w.update("db.test:80", 1, "10.0.0.2", "10.0.0.3")
		if got, want := states(), "10.0.0.2:80 drain, 10.0.0.3:80 drain, 192.0.2.99:1 up"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		w.apply(strings.Replace(namedPool, `backends: [`, `backends: ["10.0.0.3:80", `, 1))
		if got, want := states(), "10.0.0.3:80 up, 10.0.0.2:80 drain, 192.0.2.99:1 up"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// An answer may come between the look-up of a reload and its end. A pool that the reload adds gets
// it at once, not only when its TTL has passed.
func TestAnswerDuringAReload(t *testing.T) {
	server := &names{known: map[string][]string{"db.test": {"10.0.0.1"}}}
	d := directoryOf(server)
	inWorldWith(t, d.Lookup, d, namedPool, func(t *testing.T, w *world) {
		next := strings.ReplaceAll(namedPool, "back:", "other:")
		p := plan(t, parse(t, next), w.lookup)
		server.set("db.test", "10.0.0.2")
		w.pass(5 * time.Second)
		w.has("10.0.0.2:80 192.0.2.99:1")
		if err := w.live.Apply(p, func(*proxy.State) error { return nil }); err != nil {
			t.Fatal(err)
		}
		w.pass(0)
		if m := w.live.pools["other"].balancer.Members(); m[0].Address != "10.0.0.2:80" {
			t.Errorf("the new pool has %s", m[0].Address)
		}
	})
}

// A first answer without a usable address holds nothing back.
func TestEmptyFirstAnswerHoldsNothingBack(t *testing.T) {
	inNamedWorld(t, namedPool, []string{"10.0.0.1"}, func(t *testing.T, w *world) {
		if r := w.update("db.test:80", 1); !r.Empty {
			t.Errorf("%+v", r)
		}
		pool := w.live.pools["back"]
		if held := pool.plan.Entries[0].without(pool.sources["db.test:80"].wanted); held != nil {
			t.Errorf("held back %v", held)
		}
		w.has("10.0.0.1:80 192.0.2.99:1")
	})
}
