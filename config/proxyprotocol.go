package config

import (
	"net/netip"
	"strings"
)

// ProxyProtocol says which peers of a listener have to send a PROXY protocol header first.
type ProxyProtocol struct {
	// Prefixes and Lists follow the same rules as those of Rule.
	Prefixes []netip.Prefix
	Lists    []*List
	// Unix says that the peers on unix sockets have to, too.
	Unix bool
}

// unixPeers is the word for peers on unix sockets, which have no address.
const unixPeers = "unix"

func (p *ProxyProtocol) fields() fields {
	return fields{
		{"from", required(headerPeers{p}, "write from: [10.9.0.0/16], with the addresses of the proxies or load balancers in front"),
			"The peers that must send a header, as IP addresses, CIDR prefixes and `file:PATH`, like the clients in `acl`; and `unix` for the peers on the listener's unix sockets. From any other peer, a header is payload."},
	}
}

// headerPeers is the value of from.
type headerPeers struct{ of *ProxyProtocol }

func (v headerPeers) reset()        { *v.of = ProxyProtocol{} }
func (v headerPeers) shown() string { return "" }
func (v headerPeers) empty() bool   { return len(v.of.Prefixes)+len(v.of.Lists) == 0 && !v.of.Unix }

func (v headerPeers) decode(d *decoder, n *node, p *path) {
	networks := n
	if n.kind == kindList || n.kind == kindString && n.text == unixPeers {
		networks = &node{kind: kindList, line: n.line, col: n.col, env: n.env}
		for _, item := range append([]*node{}, n.items...) {
			if item.kind == kindString && item.text == unixPeers {
				v.of.Unix = true
				continue
			}
			networks.items = append(networks.items, item)
		}
		v.of.Unix = v.of.Unix || n.kind == kindString
	}
	v.of.Prefixes, v.of.Lists = d.prefixes(networks, p, true)
	if n.kind == kindList && len(n.items) == 0 {
		d.faultf(n, p, "write addresses, or remove proxy_protocol", "the list is empty, so no peer could send a header")
	}
}

func (v headerPeers) check(c *checker, p *path) {
	for i, prefix := range v.of.Prefixes {
		c.add(p.item(i), checkPrefix(prefix, prefix.String()))
	}
}

func (v headerPeers) schema() schema { return oneOrMore(schema{"type": "string"}) }

// plain is the value as JSON.
func (v headerPeers) plain() any {
	if v.empty() {
		return nil
	}
	return v.texts()
}

func (v headerPeers) current() string {
	if v.empty() {
		return ""
	}
	return "[" + strings.Join(v.texts(), ", ") + "]"
}

// texts are the peers as in a file.
func (v headerPeers) texts() []string {
	texts := (&Rule{Prefixes: v.of.Prefixes, Lists: v.of.Lists}).entries()
	if v.of.Unix {
		texts = append(texts, unixPeers)
	}
	return texts
}

// reads checks what a listener reads before it connects a client.
func (c *checker) reads(l *Listener, at *path) {
	if p := l.ProxyProtocol; p != nil && c.clear(at, "proxy_protocol", "bind") {
		c.refuse(p.Unix && firstUnix(l.Binds) < 0, at.child("proxy_protocol").child("from"), "remove it",
			"unix has no effect: the listener has no unix socket")
		for i, prefix := range p.Prefixes {
			if prefix.Bits() == 0 {
				f := faultf("write the addresses of the proxies or load balancers in front",
					"every client that can connect may claim any address: %s lists them all", prefix)
				f.Path = at.child("proxy_protocol").child("from").item(i).String()
				c.warnings = append(c.warnings, *f)
			}
		}
	}
	if !c.clear(at, "proxy_protocol", "routes", "starttls", "timeouts") {
		return
	}
	var plain Listener
	SetDefaults(&plain)
	c.refuse(l.StartTLS != StartTLSOff && !l.readsHello(), at.child("starttls"), "add routes, or remove it",
		"starttls has no effect without routes: nothing else depends on the ClientHello")
	c.refuse(l.ProxyProtocol == nil && !l.readsHello() && l.Timeouts.Handshake != plain.Timeouts.Handshake,
		at.child("timeouts").child("handshake"), "remove it", "timeouts.handshake has no effect without proxy_protocol and routes")
}

// readsHello reports whether the listener routes by ClientHello.
func (l *Listener) readsHello() bool { return len(l.Routes) > 0 }
