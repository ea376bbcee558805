package config

import (
	"math"
	"slices"
)

// PerClient are the limits of each client of a listener. A client is an address or, with shorter
// prefixes, a network. Clients of unix sockets have no address, and no such limits.
type PerClient struct {
	// Connections is the most connections at once; 0 is no limit.
	Connections int
	// Rate is how many new connections per second a client may open; 0 is no limit.
	Rate float64
	// Burst is how many it may open at once after a pause. Complete sets it if there is a Rate.
	Burst int
	// IPv4Prefix and IPv6Prefix are how many leading bits of an address make the client.
	IPv4Prefix, IPv6Prefix int
	// With is what a client beyond a limit sees.
	With DenyAction
	// Bandwidth is what all connections of a client may use together; nil is no limit.
	Bandwidth *Rates
}

const maxBurst = 1_000_000

func (p *PerClient) fields() fields {
	return fields{
		{"connections", integer(&p.Connections, 1, maxConnections), "The maximum number of connections of a client at once. If omitted, there is no limit."},
		{"rate", rate(&p.Rate), "How many new connections each client may open: `50/s`, `30/m` or `2/h`. Refused connections do not count. If omitted, there is no limit."},
		{"burst", integer(&p.Burst, 1, maxBurst), "How many new connections each client may open at once after a pause, 1 to 1,000,000; from then on, `rate` applies. If omitted, it is what `rate` allows in one second, and at least 1. Requires `rate`."},
		{"ipv4_prefix", integer(&p.IPv4Prefix, 1, 32).def("32"), "How many leading bits of an IPv4 address make one client, 1 to 32. With `24`, the 256 addresses of a /24 network share the limits."},
		{"ipv6_prefix", integer(&p.IPv6Prefix, 1, 128).def("64"), "The same for IPv6, 1 to 128. A single host usually has a /64 network, and can use any address in it."},
		{"with", enum(&p.With, denyActions, DenyReset), "What a client beyond a limit sees, as in a rule of the `acl`. A reset costs the least, and no client takes it for the end of an answer. `message` sends the `deny_message`."},
		{"bandwidth", optional(&p.Bandwidth), "How fast bytes may pass, of all connections of a client together: `{in: 10MB/s, out: 10MB/s}`; see [Bandwidth](edge.md#bandwidth). If omitted, there is no limit."},
	}
}

func (p *PerClient) complete() {
	if p.Rate > 0 && p.Burst == 0 {
		p.Burst = int(min(max(1, math.Ceil(p.Rate-1e-9)), maxBurst))
	}
}

// limits reports whether any limit is set.
func (p *PerClient) limits() bool { return p.Connections > 0 || p.Rate > 0 }

// perClient checks the limits of each client of a listener.
func (c *checker) perClient(l *Listener, at *path) {
	p := l.PerClient
	if p == nil || !c.clear(at, "per_client") {
		return
	}
	in := at.child("per_client")
	if !c.clear(in, "connections", "rate", "burst", "bandwidth") {
		return
	}
	c.refuse(p.Burst > 0 && p.Rate == 0, in.child("burst"), "write rate too, such as rate: 50/s, or remove it", "per_client.burst has no effect without rate")
	c.refuse(!p.limits() && p.Burst == 0 && p.Bandwidth == nil, in, "write {connections: 100} or {rate: 50/s}, or remove it", "per_client limits nothing")
	if c.clear(at, "bind") && len(l.Binds) > 0 {
		onlyUnix := !slices.ContainsFunc(l.Binds, func(b Bind) bool { return !b.IsUnix() })
		c.refuse(onlyUnix, in, "remove it, or write max_connections for the listener", "per_client has no effect on a unix socket, whose clients have no address")
	}
	c.beyond(p.Connections, in.child("connections"), "per_client.connections", limitOf{"max_connections of the listener", l.MaxConnections},
		limitOf{"max_connections of the process", c.c.MaxConnections})
}

// limitOf is a limit with its name; 0 if there is none.
type limitOf struct {
	name string
	most int
}

// beyond refuses a limit that can never be reached, because a wider one is lower.
func (c *checker) beyond(limit int, at *path, name string, wider ...limitOf) {
	if i := unreachable(limit, wider); i >= 0 {
		c.faultf(at, "write less than that, or remove it", "%s can never be reached: %s is %d", name, wider[i].name, wider[i].most)
	}
}

// unreachable returns the first of the wider limits that is lower than limit, or -1.
func unreachable(limit int, wider []limitOf) int {
	return slices.IndexFunc(wider, func(w limitOf) bool { return limit > 0 && w.most > 0 && w.most < limit })
}

// connectionLimits checks the limits of a pool and its backends against each other.
func (c *checker) connectionLimits(p *Pool, at *path) {
	if p.MaxConnections == 0 || !c.clear(at, "max_connections", "backends") {
		return
	}
	own := at.child("max_connections")
	c.beyond(p.MaxConnections, own, "max_connections of the pool", limitOf{"max_connections of the process", c.c.MaxConnections})
	sum, named := 0, false
	for i := range p.Backends {
		b := &p.Backends[i]
		if b.Down {
			continue
		}
		c.beyond(b.MaxConnections, at.child("backends").item(i).child("max_connections"), "max_connections of the backend",
			limitOf{"max_connections of the pool", p.MaxConnections})
		if b.MaxConnections == 0 || b.Address.Host != "" { // a name may stand for many
			named = true
		}
		sum += b.MaxConnections
	}
	if !named && sum > 0 {
		c.beyond(p.MaxConnections, own, "max_connections of the pool", limitOf{"the sum of its backends' max_connections", sum})
	}
}

// listenerLimit warns of a limit that can never be reached. It is no error: earlier versions
// accepted it.
func (c *checker) listenerLimit(l *Listener, at *path) {
	wider := []limitOf{{"max_connections of the process", c.c.MaxConnections}}
	if i := unreachable(l.MaxConnections, wider); i >= 0 && c.clear(at, "max_connections") && c.clear(nil, "max_connections") {
		f := faultf("write less than that, or remove it", "max_connections of the listener can never be reached: %s is %d", wider[i].name, wider[i].most)
		f.Path = at.child("max_connections").String()
		c.warnings = append(c.warnings, *f)
	}
}
