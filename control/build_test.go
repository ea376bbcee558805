package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/discovery"
	"l4proxy/internal/rawsys"
	"l4proxy/listen"
)

func inet(address string, scope uint32) *rawsys.Sockaddr {
	return rawsys.InetSockaddr(netip.MustParseAddrPort(address), scope)
}

// Everything that the configuration says arrives in the state.
func TestBuild(t *testing.T) {
	cfg := parse(t, `
listeners:
  web:
    bind: [":8080", "127.0.0.1:9000-9001", "[::1]:9000", "unix:/run/web.sock", "localhost:9002"]
    pool: two
    deny_message: go away
    max_connections: 7
    timeouts: {idle: 5m, half_close: 3s}
    acl: [{deny: [10.0.0.13, "::ffff:10.0.0.14"], with: reset}, {deny: 10.0.1.0/24, with: close}, {allow: 10.0.0.0/8}]
  open: {bind: "127.0.0.1:9100", pool: one}
pools:
  one: {policy: round_robin, backends: ["10.1.0.1:80"]}
  two:
    connect: {timeout: 2s, attempts: 9}
    backends: [{address: "10.1.0.2:81", weight: 3}, "[2001:db8::1]:82", "unix:/run/b.sock", "db.test:83"]
`)
	server := names{known: map[string][]string{"db.test": {"10.1.0.9"}, "localhost": {"::1", "127.0.0.1"}}}
	state := stateOf(t, plan(t, cfg, server.lookup))
	if len(state.Listeners) != 2 {
		t.Fatalf("%d listeners, want 2", len(state.Listeners))
	}
	web, open := state.Listeners[0], state.Listeners[1]
	if web.Name != "web" || web.Pool.Name != "two" || string(web.DenyMessage) != "go away" || web.Slots.Limit() != 7 ||
		web.Idle != 5*time.Minute || web.HalfClose != 3*time.Second {
		t.Errorf("listener web is %+v", web)
	}
	if open.Name != "open" || open.Pool.Name != "one" || len(open.DenyMessage) != 40 || open.Slots.Limit() != 0 ||
		open.Idle != time.Hour || open.HalfClose != time.Minute {
		t.Errorf("listener open is %+v", open)
	}
	wantBinds := []listen.Bind{
		{Addr: netip.AddrPortFrom(netip.Addr{}, 8080)},
		{Addr: netip.MustParseAddrPort("127.0.0.1:9000")},
		{Addr: netip.MustParseAddrPort("127.0.0.1:9001")},
		{Addr: netip.MustParseAddrPort("[::1]:9000")},
		{Path: "/run/web.sock"},
		{Addr: netip.MustParseAddrPort("127.0.0.1:9002")},
	}
	for i := range wantBinds {
		if i < len(web.Binds) {
			wantBinds[i].Place = web.Binds[i].Place
		}
	}
	if !slices.Equal(web.Binds, wantBinds) {
		t.Errorf("binds %v, want %v", web.Binds, wantBinds)
	}

	pool := web.Pool
	if pool.ConnectTimeout != 2*time.Second || pool.Attempts != 9 {
		t.Errorf("pool two is %+v", pool)
	}
	unixAddr, err := rawsys.UnixSockaddr("/run/b.sock")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		address string
		weight  int
		addr    *rawsys.Sockaddr
	}{
		{"10.1.0.2:81", 3, inet("10.1.0.2:81", 0)},
		{"[2001:db8::1]:82", 1, inet("[2001:db8::1]:82", 0)},
		{"unix:/run/b.sock", 1, unixAddr},
		{"10.1.0.9:83", 1, inet("10.1.0.9:83", 0)},
	} {
		b := pool.Balancer.Members()[i]
		if b.Address != want.address || b.Weight != want.weight {
			t.Errorf("backend %d is %s weight %d", i, b.Address, b.Weight)
		}
		if !reflect.DeepEqual(b.Sockaddr, want.addr) {
			t.Errorf("backend %s has the address %v, want %v", b.Address, b.Sockaddr, want.addr)
		}
	}
}

// The same configuration and facts give the same plan, to the last value.
func TestBuildOnlyComputes(t *testing.T) {
	cfg := parse(t, `
listeners: {web: {bind: ["127.0.0.1:80-82", "unix:/run/web"], owner: root, acl: [{deny: 10.0.0.0/8}], pool: two}}
pools:
  one: {backends: ["10.1.0.1:80"], health: {}, outlier: {}}
  two: {backends: ["[fe80::1%lo]:82"], health: {type: http, tls: true}, rebalance: {rate: 1/s}}
`)
	facts := Gather(t.Context(), cfg, noNames)
	first, err := Build(cfg, facts)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Build(cfg, facts)
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Errorf("%+v, then %+v, %v", first, second, err)
	}
}

// The weights reach the policy, and the policy is the one that is named.
func TestBuildPolicies(t *testing.T) {
	picks := func(policy string) string {
		cfg := parse(t, `
listeners: {web: {bind: ":80"}}
pools: {web: {policy: `+policy+`, backends: [{address: "10.0.0.1:1", weight: 3}, "10.0.0.2:1"]}}
`)
		state := stateOf(t, plan(t, cfg, noNames))
		var order strings.Builder
		for range 4 {
			b, _ := state.Listeners[0].Pool.Balancer.Pick(balancer.Request{})
			order.WriteByte(b.Address[len("10.0.0.")])
			state.Listeners[0].Pool.Balancer.OK(b, 0)
			if policy == "round_robin" {
				state.Listeners[0].Pool.Balancer.Done(b, 0) // which least_conn would see
			}
		}
		return order.String()
	}
	for _, policy := range []string{"least_conn", "round_robin"} {
		if order := picks(policy); strings.Count(order, "1") != 3 {
			t.Errorf("%s picks %s, want backend 1 three times of four", policy, order)
		}
	}
	if order := picks("random"); len(order) != 4 {
		t.Errorf("random picks %q", order)
	}
}

func TestBuildACL(t *testing.T) {
	for name, tt := range map[string]struct {
		rules string
		want  map[string]acl.Decision
	}{
		"none":         {"", map[string]acl.Decision{"10.0.0.1": {Allow: true, Name: "default"}}},
		"an allow":     {"acl: [{allow: 10.0.0.1}]", map[string]acl.Decision{"10.0.0.1": {Allow: true, Name: "allow[0]", Rule: 1}, "10.0.0.2": {Name: "default"}}},
		"only denials": {"acl: [{deny: 10.0.0.1}]", map[string]acl.Decision{"10.0.0.1": {Name: "deny[0]", Rule: 1}, "10.0.0.2": {Allow: true, Name: "default"}}},
		"actions": {"acl: [{deny: 10.0.0.1, with: close}, {deny: 10.0.0.2, with: reset}, {deny: 10.0.0.3, with: message}]", map[string]acl.Decision{
			"10.0.0.1":        {Action: acl.Close, Name: "deny[0]", Rule: 1},
			"::ffff:10.0.0.2": {Action: acl.Reset, Name: "deny[1]", Rule: 2},
			"10.0.0.3":        {Action: acl.Message, Name: "deny[2]", Rule: 3},
		}},
	} {
		cfg := parse(t, "listeners: {web: {bind: \":80\", "+tt.rules+"}}\npools: {web: {backends: [\"10.0.0.1:1\"]}}\n")
		state := stateOf(t, plan(t, cfg, noNames))
		for client, want := range tt.want {
			if got := state.Listeners[0].ACL.Decide(netip.MustParseAddr(client)); got != want {
				t.Errorf("%s: %s: %+v, want %+v", name, client, got, want)
			}
		}
	}
}

// The simple form's empty list denies everyone.
func TestBuildSimple(t *testing.T) {
	cfg, err := config.Parse("config.json", []byte(`{"LISTENER_PORT": ":80", "BACKEND_PORTS": ["10.0.0.1:1"], "ACCESS_CONTROL_LIST": []}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	state := stateOf(t, plan(t, cfg, noNames))
	l := state.Listeners[0]
	if d := l.ACL.Decide(netip.MustParseAddr("127.0.0.1")); d.Allow || d.Action != acl.Message {
		t.Errorf("decision %+v, want denied with the message", d)
	}
	if string(l.DenyMessage) != "Access Denied: Your IP is not authorized" {
		t.Errorf("message %q", l.DenyMessage)
	}
}

func TestBuildErrors(t *testing.T) {
	server := names{known: map[string][]string{"empty.test": {}}}
	for want, yaml := range map[string]string{
		"config.yaml:3:40: pool web, backend gone.test:80: cannot resolve the name: lookup gone.test: no such host": `
listeners: {web: {bind: ":80"}}
pools: {web: {backends: ["10.0.0.1:1", "gone.test:80"]}}`,
		"config.yaml:3:26: pool web, backend empty.test:80: cannot resolve the name: no IPv4 or IPv6 address": `
listeners: {web: {bind: ":80"}}
pools: {web: {backends: ["empty.test:80"]}}`,
		"config.yaml:2:25: listener web: bind gone.test:80: cannot resolve the name: lookup gone.test: no such host": `
listeners: {web: {bind: "gone.test:80"}}
pools: {web: {backends: ["10.0.0.1:1"]}}`,
		`config.yaml:3:26: pool web, backend [fe80::1%nosuch0]:80: no network interface "nosuch0": write the name of an existing one after %`: `
listeners: {web: {bind: ":80"}}
pools: {web: {backends: ["[fe80::1%nosuch0]:80"]}}`,
	} {
		cfg := parse(t, yaml)
		plan, err := Build(cfg, Gather(t.Context(), cfg, server.lookup))
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if plan != nil {
			t.Error("a plan beside an error")
		}
	}
}

// A name server that does not answer ends with the start.
func TestBuildCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent := func(ctx context.Context, _ discovery.Name) ([]discovery.Endpoint, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a look-up without a deadline")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	cfg := parse(t, "listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [\"slow.test:1\"]}}\n")
	if _, err := Build(cfg, Gather(ctx, cfg, silent)); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "slow.test:1") {
		t.Errorf("error %v, want one that names slow.test:1 and is context.Canceled", err)
	}
}

// A link-local address has the number of its interface, by name or as a number.
func TestZones(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil || len(interfaces) == 0 {
		t.Fatalf("no network interface: %v", err)
	}
	nic := interfaces[0]
	cfg := parse(t, "listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [\"[fe80::1%"+nic.Name+"]:1\", \"[fe80::2%77]:1\"]}}\n")
	state := stateOf(t, plan(t, cfg, noNames))
	for i, want := range []*rawsys.Sockaddr{inet("[fe80::1]:1", uint32(nic.Index)), inet("[fe80::2]:1", 77)} {
		if b := state.Listeners[0].Pool.Balancer.Members()[i]; !reflect.DeepEqual(b.Sockaddr, want) {
			t.Errorf("%s: %v, want %v", b.Address, b.Sockaddr, want)
		}
	}
}

// A list of addresses is in memory once, however many rules and listeners name it.
func TestListsAreShared(t *testing.T) {
	const n, many = 20_000, 30
	dir := t.TempDir()
	list := make([]byte, 0, 16*n)
	for i := range n {
		list = fmt.Appendf(list, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), list, 0o644); err != nil {
		t.Fatal(err)
	}
	allocated := func(listeners, rules int) uint64 {
		var b strings.Builder
		b.WriteString("listeners:\n")
		for l := range listeners {
			fmt.Fprintf(&b, "  l%d:\n    bind: \"127.0.0.1:%d\"\n    acl:\n", l, 1+l)
			for r := range rules {
				fmt.Fprintf(&b, "    - {deny: [192.0.2.%d, \"file:list.txt\"]}\n", r)
			}
		}
		b.WriteString("pools: {web: {backends: [\"10.0.0.1:1000\"]}}\n")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cfg, err := config.Parse(filepath.Join(dir, "config.yaml"), []byte(b.String()), nil)
		if err != nil {
			t.Fatal(err)
		}
		state := stateOf(t, plan(t, cfg, noNames))
		runtime.ReadMemStats(&after)
		for _, l := range state.Listeners {
			for client, want := range map[string]string{"10.0.1.2": "deny[0]", "192.0.2.0": "deny[0]", "11.0.0.0": acl.DefaultName} {
				if got := l.ACL.Decide(netip.MustParseAddr(client)).Name; got != want {
					t.Errorf("%s is decided on by %s, want %s", client, got, want)
				}
			}
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	one, all := allocated(1, 1), allocated(many, many)
	if all > 3*one+many*many*2000 {
		t.Errorf("%d rules that name a list take %d KB, one takes %d KB", many*many, all>>10, one>>10)
	}
}

// Ten thousand backends are a supported size.
func TestBuildMany(t *testing.T) {
	cfg := parse(t, "listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [\"10.0.0.1:1\"]}}\n")
	for i := 1; i < 10_000; i++ {
		b := cfg.Pools[0].Backends[0]
		b.Address.Port = uint16(i + 1)
		cfg.Pools[0].Backends = append(cfg.Pools[0].Backends, b)
	}
	state := stateOf(t, plan(t, cfg, noNames))
	picked := make(map[*backend.Backend]bool)
	for range 10_000 {
		b, _ := state.Listeners[0].Pool.Balancer.Pick(balancer.Request{})
		picked[b] = true
	}
	if len(picked) != 10_000 {
		t.Errorf("%d backends were picked, want each once", len(picked))
	}
}

func TestExamplesBuild(t *testing.T) {
	server := names{}
	server.known = map[string][]string{"db.example.com": {"192.0.2.1"}}
	names, err := filepath.Glob("../examples/*.[jy]*")
	if err != nil || len(names) < 5 {
		t.Fatalf("the examples are %v, %v", names, err)
	}
	for _, name := range names {
		cfg, err := config.Load(name, os.LookupEnv)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := Build(cfg, Gather(t.Context(), cfg, server.lookup)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
