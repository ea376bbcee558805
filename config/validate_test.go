package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// made is a configuration that a program made, without any text.
func made(change func(*Config)) *Config {
	var c Config
	SetDefaults(&c)
	var l Listener
	SetDefaults(&l)
	l.Name, l.Binds = "web", []Bind{{Address: Address{Port: 80}}}
	var b Backend
	SetDefaults(&b)
	b.Address = Address{IP: netip.MustParseAddr("10.0.0.1"), Port: 81}
	var p Pool
	SetDefaults(&p)
	p.Name, p.Backends = "web", []Backend{b}
	c.Listeners, c.Pools = []Listener{l}, []Pool{p}
	if change != nil {
		change(&c)
	}
	Complete(&c)
	return &c
}

// Values that come from no file pass the same checks; a path says where a fault is.
func TestValidate(t *testing.T) {
	l := func(change func(*Listener)) func(*Config) { return func(c *Config) { change(&c.Listeners[0]) } }
	p := func(change func(*Pool)) func(*Config) { return func(c *Config) { change(&c.Pools[0]) } }
	health := func(change func(*Health)) func(*Config) {
		return p(func(p *Pool) {
			p.Health = new(Health)
			SetDefaults(p.Health)
			change(p.Health)
		})
	}
	prefix := netip.MustParsePrefix
	for want, change := range map[string]func(*Config){
		"": nil,
		"listeners: listeners is missing: write listeners: {web: {bind: \":8080\", pool: web}}":                                        func(c *Config) { c.Listeners = nil },
		"workers: expected auto or a whole number from 1 to 1024, got -1":                                                              func(c *Config) { c.Workers = -1 },
		"engine: unknown engine: write auto, io_uring or epoll":                                                                        func(c *Config) { c.Engine = 77 },
		"drain.timeout: a duration cannot be negative: -1s: write a positive one":                                                      func(c *Config) { c.Drain.Timeout = -time.Second },
		"log.level: unknown log level: write debug, info, warn or error":                                                               func(c *Config) { c.Log.Level = 3 },
		`listeners.a b: the name "a b" contains a space or a character that cannot be printed: choose a printable name without spaces`: l(func(l *Listener) { l.Name = "a b" }),
		`listeners.web.pool: there is no pool "wbe": did you mean "web"?`:                                                              l(func(l *Listener) { l.Pool = "wbe" }),
		`listeners.web.bind: bind is missing: write bind: ":8080"`:                                                                     l(func(l *Listener) { l.Binds = nil }),
		"listeners.web.bind: the list bind is empty: write at least one entry":                                                         l(func(l *Listener) { l.Binds = []Bind{} }),
		`listeners.web.bind[0]: "80-70" is not a range of ports: write the lower port first, as in 8000-8010`:                          l(func(l *Listener) { l.Binds[0].Last = 70 }),
		`listeners.web.deny_message: the text is longer than 1024 bytes: write a shorter one`:                                          l(func(l *Listener) { l.DenyMessage = strings.Repeat("x", 1025) }),
		`listeners.web.acl[1]: allow[1] can never match: deny[0] matches all of its clients: remove it, or move it up`: l(func(l *Listener) {
			l.ACL = &ACL{Rules: []Rule{{Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}}, {Allow: true, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}}}}
		}),
		`listeners.web.acl[0].allow[1]: "10.0.0.1/8" is not a prefix of the addresses of clients: write the first address of an IPv4 or IPv6 prefix`: l(func(l *Listener) {
			l.ACL = &ACL{Rules: []Rule{{Allow: true, Prefixes: []netip.Prefix{prefix("11.0.0.0/8"), prefix("10.0.0.1/8")}}}}
		}),
		"listeners.web.acl[0].with: with is for deny rules: remove it": l(func(l *Listener) {
			l.ACL = &ACL{Rules: []Rule{{Allow: true, With: DenyClose}}}
		}),
		"listeners.web.mode: a socket has permissions up to 0777, got 7777: write at most \"0777\"": l(func(l *Listener) {
			l.Binds, l.Socket.Mode = []Bind{{Address: Address{Path: "/run/x"}}}, 0o7777
		}),
		`listeners.web.when_no_backend: when_no_backend: queue requires a queue in the pool web: write queue: {size: 1000, timeout: 10s} there`: l(func(l *Listener) {
			l.WhenNoBackend = NoBackendQueue
		}),
		`pools.web.backends[0].address: "a b" is not a host: write an IP address or a host name`:          p(func(p *Pool) { p.Backends[0].Address = Address{Host: "a b", Port: 80} }),
		`pools.web.backends[0].address: port 0 is not a port to connect to: write the port of the server`: p(func(p *Pool) { p.Backends[0].Address.Port = 0 }),
		`pools.web.backends[0].weight: expected a whole number from 1 to 1000, got 0`:                     p(func(p *Pool) { p.Backends[0].Weight = 0 }),
		`pools.web.backends[1].address: the backend 10.0.0.1:81 is repeated: remove it, or give the first a higher weight`: p(func(p *Pool) {
			p.Backends = append(p.Backends, p.Backends[0])
		}),
		`pools.web.backends[0].address: the backend 127.0.0.1:80 is the proxy itself: the pool "web" leads back to it through :80 of its listener "web": write the address of a server, or remove it`: p(func(p *Pool) {
			p.Backends[0].Address = Address{IP: netip.MustParseAddr("127.0.0.1"), Port: 80}
		}),
		`pools.web.panic_threshold: expected a percentage from "0%" to "99%", got "100%"`: p(func(p *Pool) { p.PanicThreshold, p.Outlier = 100, &Outlier{Failures: 1, Eject: 1e9, MaxEjected: 1} }),
		`pools.web.on_down: on_down has no effect without health, which detects that a backend is down: add health: {type: tcp}, or remove it`: p(func(p *Pool) {
			p.OnDown = LiveReset
		}),
		`pools.web.health.path: the path "x" does not begin with /: write "/x"`: health(func(h *Health) { h.Type, h.Path = HealthHTTP, "x" }),
		`pools.web.health.status[0]: expected a status such as 200 or "200-399", got 7: write codes from 100 to 599`: health(func(h *Health) {
			h.Type, h.Status = HealthHTTP, []StatusRange{{7, 7}}
		}),
		`pools.web.health.script: the script receives nothing, so that any server passes: add {receive: ...}, or write type: tcp`: health(func(h *Health) {
			h.Type, h.Script = HealthExpect, []Step{{Send: []byte("x")}}
		}),
		`pools.web.health.script[0]: expected either send or receive: write {send: ...} or {receive: ...}`: health(func(h *Health) {
			h.Type, h.Script = HealthExpect, []Step{{}}
		}),
		`pools.web.health.interval: this duration cannot be 0: write one such as "3s"`:                     health(func(h *Health) { h.Interval = 0 }),
		`pools.web.rebalance.rate: this rate cannot be 0: write a slower one, such as "1/h", or remove it`: p(func(p *Pool) { p.Rebalance = new(Rebalance) }),
	} {
		var got []string
		for _, f := range Validate(made(change)) {
			got = append(got, f.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("faults (-want +got):\n%s", diff)
		}
	}
}

// What Validate has checked stays the same: it changes no value, and Complete completes once.
func TestValidateChangesNothing(t *testing.T) {
	for _, name := range inputs(t, "good") {
		c, err := Load(name, testEnv)
		if err != nil {
			t.Fatal(err)
		}
		before := show(c)
		Complete(c)
		if faults := Validate(c); faults != nil {
			t.Errorf("%s: %v", name, faults)
		}
		if diff := cmp.Diff(before, show(c)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
}

// Faults are where their values were written, or where what is around them was.
func TestWhere(t *testing.T) {
	const full = `listeners:
  web: {bind: ["127.0.0.1:80", "127.0.0.1:81"], pool: "a.b"}
  x[1]:
    bind: ":82"
    pool: a.b
    acl:
      - allow: [10.0.0.1, 10.0.0.2]
      - deny: "::1"
pools:
  a.b:
    backends:
      - h:1
      - {address: "h:2", weight: 2}
`
	c, err := Parse("a.yaml", []byte(full), nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"": "a.yaml:1:1", "listeners": "a.yaml:1:1", "workers": "a.yaml:1:1", "listeners.web": "a.yaml:2:3",
		"listeners.web.bind": "a.yaml:2:9", "listeners.web.bind[1]": "a.yaml:2:32", "listeners.web.timeouts.idle": "a.yaml:2:3",
		`listeners."x[1]"`: "a.yaml:3:3", `listeners."x[1]".bind[0]`: "a.yaml:4:11", `listeners."x[1]".acl[0]`: "a.yaml:7:9",
		`listeners."x[1]".acl[0].allow[1]`: "a.yaml:7:27", `listeners."x[1]".acl[1].deny[0]`: "a.yaml:8:15",
		Path("pools", "a.b"): "a.yaml:10:3", Path("pools", "a.b", "backends", 0): "a.yaml:12:9",
		Path("pools", "a.b", "backends", 0, "address"): "a.yaml:12:9", Path("pools", "a.b", "backends", 1, "weight"): "a.yaml:13:34",
	} {
		if got := c.Where(path).String(); got != want {
			t.Errorf("%s is at %s, want %s", path, got, want)
		}
	}

	c, err = Parse("a.json", []byte(simpleFile), environment(map[string]string{"BACKEND_PORTS": "a:1,b:2"}))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"listeners.default.bind[0]": "a.json:2:20", "listeners.default.acl[0].allow[1]": "a.json:4:43",
		"pools.default.backends[1]": "$BACKEND_PORTS", "pools.default.backends[1].address": "$BACKEND_PORTS",
		"listeners.default": "a.json:1:1", "pools.default.policy": "a.json:1:1",
	} {
		if got := c.Where(path).String(); got != want {
			t.Errorf("%s is at %s, want %s", path, got, want)
		}
	}
	if got := made(nil).Where("listeners.web"); got != (Position{}) {
		t.Errorf("a value that a program made is at %v", got)
	}
}
