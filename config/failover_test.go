package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// parsePool returns the only pool of a configuration with these keys.
func parsePool(t *testing.T, keys string, env map[string]string) Pool {
	t.Helper()
	text := "listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [\"h:1\", \"h:2\"], " + keys + "}}\n"
	c, err := Parse("config.yaml", []byte(text), environment(env))
	if err != nil {
		t.Fatal(err)
	}
	return c.Pools[0]
}

// A section that is there but empty has the defaults that its table shows.
func TestSectionDefaults(t *testing.T) {
	for _, section := range []string{"health", "outlier", "rebalance", "queue", "connect"} {
		var keys []string
		for _, f := range sections()["pools.NAME."+section] {
			if shown := f.value.shown(); shown != "" {
				keys = append(keys, f.key+": "+shown)
			}
		}
		const text = "listeners: {web: {bind: \":80\", when_no_backend: queue}}\npools: {web: {backends: [\"h:1\", \"h:2\"], %s: {%s}%s}}\n"
		queue := ""
		if section != "queue" {
			queue = ", queue: {}"
		}
		empty, err := Parse("a.yaml", fmt.Appendf(nil, text, section, "", queue), nil)
		if err != nil {
			t.Fatal(err)
		}
		written, err := Parse("a.yaml", fmt.Appendf(nil, text, section, strings.Join(keys, ", "), queue), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(empty.Pools, written.Pools) || len(keys) == 0 {
			t.Errorf("an empty %s has %+v, its table shows %+v", section, empty.Pools[0], written.Pools[0])
		}
	}
}

// Without fast_interval it is a quarter of interval, but at least 100ms, and never more than
// interval.
func TestFastInterval(t *testing.T) {
	for interval, want := range map[string]time.Duration{
		"2s": 500 * time.Millisecond, "1m": 15 * time.Second, "400ms": 100 * time.Millisecond,
		"300ms": 100 * time.Millisecond, "50ms": 50 * time.Millisecond,
	} {
		if got := parsePool(t, "health: {interval: "+interval+"}", nil).Health.FastInterval; got != want {
			t.Errorf("with the interval %s it is %v, want %v", interval, got, want)
		}
	}
	if got := parsePool(t, "health: {interval: 1s, fast_interval: 1s}", nil).Health.FastInterval; got != time.Second {
		t.Errorf("%v, want the 1s that was written", got)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]float64{"10/s": 10, "30/m": 0.5, "2/h": 2.0 / 3600, "1000000/s": 1e6} {
		if got := parsePool(t, "rebalance: {rate: "+text+"}", nil).Rebalance.Rate; got != want {
			t.Errorf("%s is %v a second, want %v", text, got, want)
		}
	}
}

func TestSteps(t *testing.T) {
	for text, want := range map[string][]byte{
		`"PING\r\n"`: []byte("PING\r\n"), `+PONG`: []byte("+PONG"), `"hex:53"`: {0x53}, `hex:53`: {0x53},
		`"hex:0000 0008 04d2 162f"`: {0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}, `"hex: \n0D\t0a "`: {13, 10},
		`"\x00"`: {0}, `"${TEXT}\r\n"`: []byte("QUIT\r\n"), `"hex:${HEX}"`: {0xff}, `Hex:00`: []byte("Hex:00"),
	} {
		env := map[string]string{"TEXT": "QUIT", "HEX": "ff"}
		script := parsePool(t, "health: {type: expect, script: [{send: "+text+"}, {receive: "+text+"}]}", env).Health.Script
		if len(script) != 2 || !bytes.Equal(script[0].Send, want) || script[0].Receive != nil ||
			!bytes.Equal(script[1].Receive, want) || script[1].Send != nil {
			t.Errorf("%s is %q, want %q", text, script, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	for text, want := range map[string][]StatusRange{
		"200": {{200, 200}}, "200-399": {{200, 399}}, `["200", 301-302, 599, "100-100"]`: {{200, 200}, {301, 302}, {599, 599}, {100, 100}},
		`"${STATUS}"`: {{204, 206}},
	} {
		got := parsePool(t, "health: {type: http, status: "+text+"}", map[string]string{"STATUS": "204-206"}).Health.Status
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
}

// Hosts, paths and names that are right.
func TestHealthNames(t *testing.T) {
	for _, keys := range []string{
		`type: http, host: www.example.com`, `type: http, host: "www.example.com:8080"`, `type: http, host: 10.0.0.1`,
		`type: http, host: "[::1]"`, `type: http, host: "[2001:db8::1]:8080"`, `type: http, host: localhost`,
		`type: http, path: "/a/b?c=d&e=%20"`, `type: http, path: "/?next=http://example.com/"`, `type: http, method: HEAD`,
		`type: http, method: VERSION-CONTROL`, `type: http, tls: true, server_name: a.example.com, verify: true`,
		`type: tls, server_name: a.example.com`, `type: tls, server_name: 10.0.0.1, verify: true`,
		`type: tls, server_name: "2001:db8::1", verify: true`, `type: tls, verify: false`, `type: http, tls: true, verify: "${NO}"`,
	} {
		parsePool(t, "health: {"+keys+"}", map[string]string{"NO": "false"})
	}
	const addresses = `{"listeners": {"a": {"bind": ":2"}}, "pools": {"a": {"backends": ["10.0.0.1:1", "[::1]:1", "db.example.com:1"], "health": {"type": "tls", "verify": true}}}}`
	if _, err := Parse("a.json", []byte(addresses), nil); err != nil {
		t.Error(err)
	}
}

// Every value may come from the environment, also those that are no strings.
func TestFailoverFromEnvironment(t *testing.T) {
	const text = `
listeners: {a: {bind: ":1", when_no_backend: "${WHEN}", no_backend_message: "${TEXT}"}}
pools:
  a:
    policy: ${POLICY}
    backends:
      - {address: "h:1", max_connections: "${N}", backup: "${YES}", zone: "${TEXT}"}
      - {address: "h:2", priority: "${N}"}
    connect: {hedge: "${TIME}"}
    health: {type: "${TYPE}", interval: "${TIME}", jitter: "${PERCENT}", rise: "${N}", port: "${N}"}
    outlier: {failures: "${N}", eject: "${TIME}", max_ejected: "${N}%"}
    panic_threshold: "${PERCENT}"
    slow_start: ${TIME}
    on_down: ${ACTION}
    on_removed: ${ACTION}
    on_recovered: ${ACTION}
    spread: ${TIME}
    queue: {size: "${N}", timeout: "${TIME}"}
    zone: ${TEXT}
    hash: {seed: "${TEXT}", max_load: "${UNSET:-125%}"}
`
	env := environment(map[string]string{
		"WHEN": "message", "TEXT": "eu-1", "POLICY": "source_hash", "N": "7", "YES": "true", "TIME": "20ms",
		"TYPE": "tls", "PERCENT": "5%", "ACTION": "close",
	})
	c, err := Parse("env.yaml", []byte(text), env)
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	want := Pool{Health: new(Health), Outlier: new(Outlier), Queue: new(Queue), Hash: new(Hash)}
	SetDefaults(&want.Connect)
	SetDefaults(&want.Resolve)
	SetDefaults(&want.Endpoints)
	SetDefaults(want.Health)
	SetDefaults(want.Outlier)
	want.Name, want.Policy, want.Zone = "a", SourceHash, "eu-1"
	want.Connect.Hedge, want.SlowStart, want.Spread = 20*ms, 20*ms, 20*ms
	h := want.Health
	h.Type, h.Interval, h.FastInterval, h.Jitter, h.Rise, h.Port = HealthTLS, 20*ms, 20*ms, 5, 7, 7
	want.Outlier.Failures, want.Outlier.Eject, want.Outlier.MaxEjected = 7, 20*ms, 7
	want.PanicThreshold, want.OnDown, want.OnRemoved, want.OnRecovered = 5, LiveClose, LiveClose, LiveClose
	*want.Queue, *want.Hash = Queue{Size: 7, Timeout: 20 * ms}, Hash{Seed: "eu-1", MaxLoad: 125}
	got := c.Pools[0]
	b := got.Backends
	got.Backends = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if b[0].MaxConnections != 7 || !b[0].Backup || b[0].Zone != "eu-1" || b[1].Priority != 7 {
		t.Errorf("backends %+v", b)
	}
	if l := c.Listeners[0]; l.WhenNoBackend != NoBackendMessage || l.NoBackendMessage != "eu-1" {
		t.Errorf("listener %+v", l)
	}
}
