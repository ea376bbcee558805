package config

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Settings that are valid by themselves, but would do nothing or cannot be combined. The user
// expects each of them to have an effect, so they are errors. A value that equals the default is
// accepted.

// defaultSpread is what the table of a pool says.
var defaultSpread = sync.OnceValue(func() time.Duration {
	var p Pool
	SetDefaults(&p)
	return p.Spread
})

// pool checks the rules that involve several values of one pool.
func (c *checker) pool(p *Pool, at *path) {
	c.backends(p, at)
	c.connectionLimits(p, at)
	if c.clear(at, "connect") {
		c.hedge(p, at.child("connect").child("hedge"))
	}
	switch {
	case p.Health != nil:
		c.health(p, at.child("health"))
	case c.clear(at, "outlier"):
		c.healthless(p, at)
	}
	if len(p.Backends) > 0 && c.clear(at, "backends", "zone") {
		c.tiers(p, at)
	}
	c.followed(p, at)
	c.sendProxy(p, at.child("send_proxy"))
	if c.clear(at, "source", "backends") {
		c.sources(p, at)
	}
	if p.TCP != nil && c.clear(at, "tcp") {
		p.TCP.check(c, at.child("tcp"), false)
	}
	if c.clear(at, "policy", "hash") {
		c.policy(p, at)
	}
	keeps := c.clear(at, "on_down", "on_removed", "on_recovered") && p.OnDown == LiveKeep && p.OnRemoved == LiveKeep && p.OnRecovered == LiveKeep
	c.refuse(keeps && p.Spread != defaultSpread(), at.child("spread"), "remove it",
		"spread has no effect when on_down, on_removed and on_recovered keep all connections")
}

// backends finds addresses that are repeated.
func (c *checker) backends(p *Pool, at *path) {
	first := make(map[Address]int, len(p.Backends))
	at = at.child("backends").item(0)
	for i := range p.Backends {
		b := &p.Backends[i]
		at.index = i
		c.refuse(b.Backup && b.Priority != 0, at.child("priority"), "keep one of them",
			"priority and backup cannot be combined: a backup comes after every priority")
		c.refuse(b.Address.SRV && b.Weight != 1, at.child("weight"), "remove it",
			"weight has no effect with %s: SRV records have weights", b.Address)
		earlier, ok := first[b.Address]
		if !ok || b.Address == (Address{}) {
			first[b.Address] = i
			continue
		}
		fix := "remove it, or give the first a higher weight"
		if b.Down != p.Backends[earlier].Down {
			fix = "keep one of them, with or without down: true"
		}
		f := faultf(fix, "the backend %s is repeated", b.Address)
		f.See = []string{Path("pools", p.Name, "backends", earlier, "address")}
		c.add(at.child("address"), f)
	}
}

func (c *checker) hedge(p *Pool, at *path) {
	hedge := p.Connect.Hedge > 0
	c.refuse(hedge && p.Connect.Hedge >= p.Connect.Timeout, at, "write a shorter one",
		"connect.hedge must be shorter than connect.timeout, which is %v", p.Connect.Timeout)
	c.refuse(hedge && p.Connect.Attempts == 1, at, "write attempts: 2, or remove hedge", "connect.hedge has no effect with one attempt")
	c.refuse(hedge && len(p.Backends) == 1 && p.Backends[0].Address.Host == "", at, "remove it, or add a backend", "connect.hedge has no effect with one backend")
}

// followed checks the settings for backends that are names.
func (c *checker) followed(p *Pool, at *path) {
	c.refuse(p.Resolve.Min > p.Resolve.Max && c.clear(at.child("resolve"), "min", "max"), at.child("resolve").child("min"),
		fmt.Sprintf("write \"%v\" or less, or a longer max", p.Resolve.Max), "resolve.min is longer than resolve.max, which is %v", p.Resolve.Max)
	named := slices.ContainsFunc(p.Backends, func(b Backend) bool { return b.Address.Host != "" })
	if named || len(p.Backends) == 0 || !c.clear(at, "backends", "resolve", "endpoints") {
		return
	}
	var plain Pool
	SetDefaults(&plain)
	const fix, what = "remove it", "%s has no effect when no backend is a host name"
	c.refuse(p.Resolve != plain.Resolve, at.child("resolve"), fix, what, "resolve")
	c.refuse(p.Endpoints != plain.Endpoints, at.child("endpoints"), fix, what, "endpoints")
}

// healthless checks the settings for backends that are down, in a pool where nothing detects that
// they are.
func (c *checker) healthless(p *Pool, at *path) {
	const what = "%s has no effect without health, which detects that a backend is down"
	c.refuse(p.PanicThreshold > 0 && p.Outlier == nil, at.child("panic_threshold"), "add one of them, as in health: {type: tcp}, or remove it",
		"panic_threshold has no effect without health and outlier")
	c.refuse(p.OnDown != LiveKeep, at.child("on_down"), "add health: {type: tcp}, or remove it", what, "on_down")
	c.refuse(p.OnRecovered != LiveKeep, at.child("on_recovered"), "add health: {type: tcp}, or remove it", what, "on_recovered")
}

// tiers checks the settings that require backends to serve before others.
func (c *checker) tiers(p *Pool, at *path) {
	zoned := slices.IndexFunc(p.Backends, func(b Backend) bool { return b.Zone != "" })
	ordered := zoned >= 0 || slices.ContainsFunc(p.Backends, func(b Backend) bool { return b.Backup || b.Priority != 0 || b.Address.SRV })
	c.refuse(p.OnRecovered != LiveKeep && !ordered, at.child("on_recovered"), "write {address: ..., backup: true} for some, or remove it",
		"on_recovered has no effect when no backend comes before another: there is no backup, priority or zone")
	c.refuse(zoned >= 0 && p.Zone == "", at.child("backends").item(zoned).child("zone"),
		"write zone: NAME in the pool too, for where the proxy is, or remove it", "the zone of a backend has no effect without the zone of the pool")
	c.refuse(zoned < 0 && p.Zone != "", at.child("zone"), "write {address: ..., zone: NAME} for the backends, or remove it",
		"the zone of the pool has no effect when no backend has one")
}

// policy checks the settings that depend on the policy.
func (c *checker) policy(p *Pool, at *path) {
	hashes := p.Policy == SourceHash || p.Policy == Maglev
	c.refuse(p.Hash != nil && !hashes, at.child("hash"), "remove it, or write policy: source_hash or maglev",
		"hash has no effect with the policy %s", p.Policy)
	c.refuse(p.Hash != nil && p.Hash.MaxLoad > 0 && p.Policy == Maglev, at.child("hash").child("max_load"),
		"remove it, or write policy: source_hash", "hash.max_load is for the policy source_hash, not maglev")
	c.refuse(p.Rebalance != nil && (hashes || p.Policy == First), at.child("rebalance"), "remove it, or write policy: least_conn",
		"rebalance does not work with the policy %s, which would send the clients back", p.Policy)
	c.refuse(p.SlowStart > 0 && p.Policy == First, at.child("slow_start"), "remove it, or write another policy",
		"slow_start has no effect with the policy first, which ignores weights")
}

// health checks the rules that involve several settings of a health check.
func (c *checker) health(p *Pool, at *path) {
	h := p.Health
	c.refuse(h.FastInterval > h.Interval && c.clear(at, "interval"), at.child("fast_interval"), "write a shorter one",
		"health.fast_interval is longer than health.interval, which is %v", h.Interval)
	if c.clear(at, "type") {
		c.ofType(h, at)
	}
	if c.clear(at, "type", "tls", "verify") {
		c.handshake(p, at)
	}
	c.refuse(h.Body != "" && h.Method == "HEAD", at.child("body"), "remove it, or write method: GET", "an answer to HEAD has no body")
	receives := len(h.Script) == 0 // an empty list is a fault already
	for i, s := range h.Script {
		neither := (s.Send == nil) == (s.Receive == nil)
		c.refuse(neither, at.child("script").item(i), "write {send: ...} or {receive: ...}", "expected either send or receive")
		receives = receives || neither || s.Receive != nil
	}
	c.refuse(!receives && c.clear(at, "script"), at.child("script"), "add {receive: ...}, or write type: tcp",
		"the script receives nothing, so that any server passes")
}

// ofType checks the settings that only some types of checks have.
func (c *checker) ofType(h *Health, at *path) {
	handshake, http := []HealthType{HealthTLS, HealthHTTP}, []HealthType{HealthHTTP}
	for _, s := range []struct {
		key   string
		set   bool
		types []HealthType
	}{
		{"server_name", h.ServerName != "", handshake}, {"verify", h.Verify, handshake}, {"tls", h.TLS, http},
		{"method", h.Method != "", http}, {"path", h.Path != "", http}, {"host", h.Host != "", http},
		{"status", h.Status != nil, http}, {"body", h.Body != "", http}, {"script", h.Script != nil, []HealthType{HealthExpect}},
	} {
		var types []string
		for _, t := range s.types {
			types = append(types, t.String())
		}
		c.refuse(s.set && !slices.Contains(s.types, h.Type), at.child(s.key), "remove it, or write type: "+oneOf(types),
			"health.%s is for the type %s, not %s", s.key, oneOf(types), h.Type)
	}
	c.refuse(h.Type == HealthExpect && h.Script == nil && c.clear(at, "script"), at.child("type"),
		`write script: [{send: "PING\r\n"}, {receive: "+PONG"}]`, "type expect requires a script")
}

// handshake checks the settings of TLS, and those that unix sockets do not have.
func (c *checker) handshake(p *Pool, at *path) {
	h := p.Health
	var unix *Address
	if i := slices.IndexFunc(p.Backends, func(b Backend) bool { return b.Address.IsUnix() }); i >= 0 {
		unix = &p.Backends[i].Address
	}
	c.refuse(h.Port != 0 && unix != nil, at.child("port"), "remove it, or put that backend into a pool of its own",
		"health.port is not for a unix socket, and the backend %v is one", unix)
	_, notIP := netip.ParseAddr(h.ServerName)
	c.refuse(notIP == nil && !h.Verify, at.child("server_name"), "write a host name, or remove it",
		"health.server_name has no effect with an IP address unless verify is true") // RFC 6066 section 3
	overTLS := h.Type == HealthTLS || h.Type == HealthHTTP && h.TLS
	c.refuse(overTLS && h.Verify && h.ServerName == "" && unix != nil, at.child("verify"), "write server_name: NAME too",
		"health.verify requires health.server_name: the backend %v has no name or IP address that a certificate could match", unix)
	if h.Type == HealthHTTP && !h.TLS {
		const what, fix = "health.%s has no effect on http without TLS", "write tls: true too, or remove it"
		c.refuse(h.ServerName != "", at.child("server_name"), fix, what, "server_name")
		c.refuse(h.Verify, at.child("verify"), fix, what, "verify")
	}
}
