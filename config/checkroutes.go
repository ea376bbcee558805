package config

import (
	"fmt"
	"slices"
)

// routes checks the routes of a listener.
func (c *checker) routes(l *Listener, at *path) {
	for i := range l.Routes {
		c.route(&l.Routes[i], at.item(i))
	}
	if c.clear(at.up, at.last()) {
		c.routesReached(l.Routes, at)
	}
}

func (c *checker) route(r *Route, at *path) {
	if c.pools[r.Pool] == nil && r.Pool != "" && len(c.names) > 0 {
		c.faultf(at.child("pool"), didYouMean(r.Pool, c.names), "there is no pool %s", quote(r.Pool))
	}
	if !c.clear(at, "sni", "alpn", "tls") {
		return
	}
	named := len(r.SNI) > 0 || len(r.ALPN) > 0
	switch {
	case !named && r.TLS == nil && r.SNI == nil && r.ALPN == nil:
		c.faultf(at, "write sni, alpn or tls: false, or remove it and write pool: "+r.Pool+" for the listener",
			"the route has no condition, and would take every client")
	case named && r.TLS != nil && !*r.TLS:
		c.faultf(at.child("tls"), "remove it, or remove sni and alpn", "a client without TLS sends neither a server name nor ALPN")
	}
	c.repeated(r.SNI, at.child("sni"))
	c.repeated(r.ALPN, at.child("alpn"))
}

// repeated refuses an entry that a list has twice.
func (c *checker) repeated(list []string, at *path) {
	first := make(map[string]int, len(list))
	for i, text := range list {
		if _, seen := first[text]; seen {
			c.faultf(at.item(i), "remove one", "%s is listed twice in %s", quote(text), at.last())
			continue
		}
		first[text] = i
	}
}

// routesReached refuses routes, and names in them, whose clients are all taken by routes before
// them. The most specific name decides first, so only routes with the same name can be in the way.
func (c *checker) routesReached(routes []Route, at *path) {
	before := make(takers)
	for i := range routes {
		r := &routes[i]
		names := r.names()
		taken := make([][]int, len(names)) // by which routes before
		dead, by := 0, []int(nil)
		for k, name := range names {
			if taken[k] = before.all(name, r.ALPN); taken[k] != nil {
				dead++
				by = append(by, taken[k]...)
			}
		}
		if dead == len(names) {
			c.neverMatches(at.item(i), fmt.Sprintf("routes[%d] can never match", i), "remove it, or move it up", by, at)
			continue
		}
		for k, name := range names {
			if taken[k] != nil {
				c.neverMatches(at.item(i).child("sni").item(k), quote(name)+" can never match here", "remove it here", taken[k], at)
			}
			before.add(i, name, r.ALPN)
		}
	}
}

// names are the server names of a route, or what stands for them in a route without.
func (r *Route) names() []string {
	switch {
	case len(r.SNI) > 0:
		return r.SNI
	case r.TLS != nil && !*r.TLS:
		return []string{"no TLS"} // which is no server name
	}
	return []string{"any name"}
}

// takers has the first route that takes the clients which ask for a name and offer a protocol; the
// protocol "" stands for all clients.
type takers map[[2]string]int

func (t takers) add(route int, name string, alpn []string) {
	if len(alpn) == 0 {
		alpn = []string{""}
	}
	for _, protocol := range alpn {
		if _, taken := t[[2]string{name, protocol}]; !taken {
			t[[2]string{name, protocol}] = route
		}
	}
}

// all returns the routes that take all clients which ask for a name and offer one of the protocols,
// or all that ask for it if there are none; nil if some clients are left.
func (t takers) all(name string, alpn []string) (by []int) {
	if route, ok := t[[2]string{name, ""}]; ok {
		return []int{route}
	}
	for _, protocol := range alpn {
		route, ok := t[[2]string{name, protocol}]
		if !ok {
			return nil
		}
		by = append(by, route)
	}
	return by
}

func (c *checker) neverMatches(p *path, what, fix string, by []int, at *path) {
	slices.Sort(by)
	by = slices.Compact(by)
	who := fmt.Sprintf("routes[%d] takes", by[0])
	switch len(by) {
	case 1:
	case 2:
		who = fmt.Sprintf("routes[%d] and routes[%d] take", by[0], by[1])
	default:
		who = fmt.Sprintf("routes[%d] and %d other routes take", by[0], len(by)-1)
	}
	f := faultf(fix, "%s: %s all of its clients", what, who)
	for _, b := range by {
		f.See = append(f.See, at.item(b).String())
	}
	c.add(p, f)
}

// speakFirst are the protocols whose clients wait for the server to speak, by usual port.
var speakFirst = map[uint16]string{
	21: "FTP", 22: "SSH", 25: "SMTP", 110: "POP3", 143: "IMAP", 587: "SMTP", 3306: "MySQL", 5900: "VNC",
}

// serverFirst warns of protocols in which the client sends nothing before the server does: a
// listener that waits for the first bytes of its clients would never serve them.
func (c *checker) serverFirst(l *Listener) {
	warn := func(p *path, what, name string) {
		f := faultf("give them a listener of their own, without routes", "%s: %s clients wait until the server has sent something, and a listener with routes waits for the client: they end when timeouts.handshake is over",
			what, name)
		f.Path = p.String()
		c.warnings = append(c.warnings, *f)
	}
	for _, name := range l.PoolNames() {
		pool := c.pools[name]
		if pool == nil {
			continue
		}
		inPool := newPath("pools", pool.Name)
		if h := pool.Health; h != nil && h.Type == HealthExpect && len(h.Script) > 0 && len(h.Script[0].Receive) > 0 {
			warn(inPool.child("health"), "the server speaks first", "such")
			continue
		}
		for i := range pool.Backends {
			if protocol := speakFirst[pool.Backends[i].Address.Port]; protocol != "" {
				warn(inPool.child("backends").item(i).child("address"), fmt.Sprintf("port %d is that of %s", pool.Backends[i].Address.Port, protocol), protocol)
				break
			}
		}
	}
}
