package control

import (
	"reflect"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/proxy"
)

// TestPoolOptions holds that what a pool is configured with reaches the plan.
func TestPoolOptions(t *testing.T) {
	p := plan(t, parse(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back, when_no_backend: queue}}
pools:
  back:
    policy: source_hash
    hash: {seed: pepper, max_load: 150%}
    zone: here
    backends:
      - {address: "192.0.2.1:1", zone: here, max_connections: 7, weight: 3}
      - {address: "192.0.2.2:1", zone: there, priority: 4}
      - {address: "192.0.2.3:1", backup: true}
    connect: {timeout: 2s, attempts: 2, hedge: 100ms}
    queue: {size: 9, timeout: 4s}
    outlier: {failures: 2, eject: 3s, max_ejected: 40%}
    panic_threshold: 20%
    slow_start: 5s
    health: {type: http, port: 81, interval: 3s}
    on_down: close
    on_removed: reset
    on_recovered: drain
    spread: 6s
`), noNames)
	pool := p.Pools[0]
	if p.Listeners[0].NoBackend != proxy.QueueClient || pool.QueueTimeout != 4*time.Second || pool.Hedge != 100*time.Millisecond {
		t.Errorf("listener = %+v, pool = %+v", p.Listeners[0].NoBackend, pool.Pool)
	}
	near, far, backup := pool.Members[0], pool.Members[1], pool.Members[2]
	if near.MaxConnections != 7 || near.Weight != 3 || near.Far || near.Priority != 0 {
		t.Errorf("the first backend is %+v", near)
	}
	if !far.Far || far.Priority != 4 || backup.Priority != backupPriority || !backup.Far {
		t.Errorf("priorities = %d, %d; far = %v, %v", far.Priority, backup.Priority, far.Far, backup.Far)
	}
	want := balancer.Options{
		Policy: "source_hash", HashSeed: "pepper", MaxLoad: 150, SlowStart: 5 * time.Second, PanicThreshold: 20, Queue: 9,
		Outlier: &balancer.Outlier{Failures: 2, Eject: 3 * time.Second, MaxEjected: 40},
	}
	if !reflect.DeepEqual(pool.Options, want) {
		t.Errorf("options = %+v, want %+v", pool.Options, want)
	}
	rules := Rules{
		OnDown: config.LiveClose, OnRemoved: config.LiveReset, OnRecovered: config.LiveDrain, Drain: 30 * time.Second, Spread: 6 * time.Second, PanicThreshold: 20,
	}
	if pool.Rules != rules {
		t.Errorf("rules = %+v, want %+v", pool.Rules, rules)
	}
	for i, want := range map[int]string{0: "192.0.2.1:81", 2: "192.0.2.3:81"} {
		if got := pool.Checks.Targets[i].Addr.String(); got != want {
			t.Errorf("backend %d is checked at %s, want %s", i, got, want)
		}
	}
	if n := p.CheckDescriptors(); n != 3 {
		t.Errorf("%d descriptors for checks, want 3", n)
	}
	if n := p.ListenSockets(4); n != 4 {
		t.Errorf("%d listening sockets, want 4", n)
	}
}

// TestChecksKnowNames: checks ask for a backend by its configured name, and connect to its address.
func TestChecksKnowNames(t *testing.T) {
	lookup := (&names{known: map[string][]string{"localhost": {"127.0.0.1"}, "db.test": {"2001:db8::1"}}}).lookup
	p := plan(t, parse(t, `
listeners: {front: {bind: "127.0.0.1:9", pool: back}}
pools:
  back:
    backends: ["localhost:1", "db.test:2", "192.0.2.1:3", "[2001:db8::2]:4", "[fe80::1%77]:5", "unix:/run/x"]
    health: {type: http}
`), lookup)
	for i, want := range []string{
		"localhost 127.0.0.1:1", "db.test [2001:db8::1]:2", " 192.0.2.1:3", " [2001:db8::2]:4", " [fe80::1%77]:5", " /run/x",
	} {
		if target := p.Pools[0].Checks.Targets[i]; target.Name+" "+target.Addr.String() != want {
			t.Errorf("checks ask %s by the name %q, want %s", target.Addr, target.Name, want)
		}
	}
}

// TestEachCheck makes each type of check.
func TestEachCheck(t *testing.T) {
	for _, kind := range []config.HealthType{config.HealthTCP, config.HealthTLS, config.HealthHTTP, config.HealthExpect} {
		if checkers[kind] == nil {
			t.Fatalf("no checker for %s", kind)
		}
		h := config.Health{Type: kind, Script: []config.Step{{Send: []byte("x")}}, TLS: kind == config.HealthHTTP, Status: []config.StatusRange{{From: 200, To: 299}}}
		if buildChecks(&h, nil).Checker == nil {
			t.Errorf("%s makes no checker", kind)
		}
	}
}

// TestChecksOfAPoolWithHeaders: checks begin with a header, unless they ask another service.
func TestChecksOfAPoolWithHeaders(t *testing.T) {
	for _, test := range []struct {
		sends *config.SendProxy
		port  uint16
		want  string
	}{
		{nil, 0, ""},
		{&config.SendProxy{Version: config.ProxyV1}, 0, "PROXY UNKNOWN\r\n"},
		{&config.SendProxy{Version: config.ProxyV2}, 0, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"},
		{&config.SendProxy{Version: config.ProxyV2}, 9000, ""},
	} {
		p := &config.Pool{SendProxy: test.sends, Health: &config.Health{Type: config.HealthTCP, Port: test.port}}
		if got := checkHeader(p); string(got) != test.want {
			t.Errorf("%+v: %q, want %q", test, got, test.want)
		}
	}
}
