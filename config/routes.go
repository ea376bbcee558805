package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Route chooses the pool of a client by what the client sends first. It takes a client if all of
// its conditions are met; conditions that are left out are met by every client.
type Route struct {
	// SNI are server names, or "*.suffix" for all names below suffix, in lower case and without a
	// dot at their end. The client asks for one of them.
	SNI []string
	// ALPN are protocols, byte for byte. The client offers one of them.
	ALPN []string
	// TLS is whether the client speaks TLS; nil is either.
	TLS *bool
	// Pool is the name of an entry of Config.Pools.
	Pool string
}

const (
	maxRoutes     = 10_000
	maxRouteNames = 10_000
	maxRouteALPN  = 64
	maxProtocol   = 255 // RFC 7301 section 3.1
)

func (r *Route) fields() fields {
	return fields{
		{"sni", listOf(&r.SNI, routeName).orOne().most(maxRouteNames),
			"Server names that TLS clients ask for: `www.example.com`, or `\"*.example.com\"` for all names below example.com, at any depth, but not for example.com itself. Upper and lower case are the same. Write international names in their ASCII form (`xn--...`)."},
		{"alpn", listOf(&r.ALPN, protocol).orOne().most(maxRouteALPN),
			"Protocols that TLS clients offer, such as `h2`, `http/1.1` or `postgresql`, exactly as they write them. One of them must be offered."},
		{"tls", pointer(&r.TLS, func(b *bool) value { return boolean(b, false) }),
			"`false` takes clients that do not speak TLS, and has neither `sni` nor `alpn` beside it. `true` takes all TLS clients, with any name and without one."},
		{"pool", required(text(&r.Pool, "the name of a pool"), "write pool: NAME"), "The pool that serves these clients."},
	}
}

func route(r *Route) value { return section(r) }

// routeName is a name in sni.
func routeName(dst *string) value {
	v := text(dst, "a server name").where(checkRouteName)
	v.parse = func(text string) (string, *Fault) {
		if len(text) > 1 {
			text = strings.TrimSuffix(text, ".")
		}
		return strings.ToLower(text), nil
	}
	return v
}

// checkRouteName refuses what no client can ask for, and patterns other than "*.suffix".
func checkRouteName(name string) *Fault {
	suffix, below := strings.CutPrefix(name, "*.")
	host := strings.TrimPrefix(suffix, "*")
	ip, ipErr := netip.ParseAddr(strings.Trim(name, "[]"))
	_, portErr := netip.ParseAddrPort(name)
	switch {
	case name == "":
		return faultf("write a name such as www.example.com, or remove the entry", "the server name is empty")
	case name == "*" || name == "*.":
		return faultf("write tls: true instead of sni to take all TLS clients", "%s is not a server name", quote(name))
	case ipErr == nil:
		return faultf("write a name; clients that connect to an address send none", "%s is an IP address, which is never sent as a server name", ip)
	case portErr == nil:
		return faultf("write a name without port; clients that connect to an address send none", "%s is an address, which is never sent as a server name", quote(name))
	case strings.Contains(name, "://") || strings.Contains(name, "/"):
		return faultf("write only the name, as in www.example.com", "%s is a URL or a path, not a server name", quote(name))
	case strings.HasPrefix(name, ".") && !strings.Contains(name, "*"):
		return faultf("write "+quote("*"+name), "%s is not a server name", quote(name))
	case strings.Contains(suffix, "*"):
		fix := `write "*.SUFFIX", such as "*.example.com", or the whole name`
		if !below && !strings.Contains(host, "*") && strings.Contains(host, ".") {
			fix = "write " + quote("*."+strings.TrimPrefix(host, ".")) + ", or the whole name"
		}
		return faultf(fix, "in %s, the star does not stand for the first label alone", quote(name))
	case strings.Contains(name, ":"):
		host, _, _ := strings.Cut(name, ":")
		return faultf("write "+host, "the server name %s has a port, which clients do not send", quote(name))
	}
	return checkLabels(name, suffix)
}

// checkLabels checks the labels of a name, or of the suffix that a "*." stands before: RFC 1035
// section 2.3.4. Underscores are no part of host names, but are in use.
func checkLabels(name, suffix string) *Fault {
	for _, c := range suffix {
		switch {
		case c >= 0x80:
			return faultf("write its ASCII form (Punycode), as in xn--bcher-kva.example", "the server name %s has characters that are not ASCII", quote(name))
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return faultf(`write a name such as www.example.com, or "*.example.com"; expressions are not supported`,
				"%s in the server name %s is not allowed", quote(string(c)), quote(name))
		}
	}
	for label := range strings.SplitSeq(suffix, ".") {
		switch {
		case label == "":
			return faultf("write one dot between two labels", "the server name %s has an empty label", quote(name))
		case len(label) > 63:
			return faultf("write a shorter one", "the server name %s has a label of more than 63 bytes", quote(name))
		}
	}
	if len(name) > maxHostLen {
		return faultf("write a shorter one", "the server name %s is longer than %d bytes", quote(shorten(name)), maxHostLen)
	}
	return nil
}

// protocol is a name in alpn.
func protocol(dst *string) value {
	return text(dst, "the name of a protocol").where(func(name string) *Fault {
		switch {
		case name == "":
			return faultf("write a name such as h2, or remove the entry", "the name of the protocol is empty")
		case len(name) > maxProtocol:
			return faultf("write a shorter one", "the name of the protocol is longer than %d bytes", maxProtocol)
		}
		if meant := misspelt[strings.ToLower(name)]; meant != "" && meant != name {
			return faultf("write "+meant, "no client offers the protocol %s", quote(name))
		}
		return nil
	})
}

// misspelt are the registered names that people write in other ways.
var misspelt = map[string]string{
	"h2": "h2", "http2": "h2", "http/2": "h2", "http/2.0": "h2", "http1.1": "http/1.1", "http/1.1": "http/1.1", "http1": "http/1.1",
	"http": "http/1.1", "postgres": "postgresql", "postgresql": "postgresql",
}

// Serves says in words which pools serve the clients of a listener.
func (l *Listener) Serves() string {
	pool := "pool " + l.Pool
	switch {
	case len(l.Routes) == 0:
		return pool
	case l.Pool == "":
		return countRoutes(len(l.Routes))
	}
	return countRoutes(len(l.Routes)) + ", others to " + pool
}

func countRoutes(n int) string {
	if n == 1 {
		return "1 route"
	}
	return fmt.Sprintf("%d routes", n)
}

// PoolNames are the pools to which the listener may send clients, each once.
func (l *Listener) PoolNames() []string {
	names := make([]string, 0, 1+len(l.Routes))
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(l.Pool)
	for i := range l.Routes {
		add(l.Routes[i].Pool)
	}
	return names
}

// routes compares the routes of a listener: those that only one side has, or the order.
func (d *differ) routes(old, next *Listener) {
	before, after := routeTexts(old.Routes), routeTexts(next.Routes)
	pick := func(all []string, which []int) string {
		texts := make([]string, len(which))
		for i, at := range which {
			texts[i] = all[at]
		}
		return strings.Join(texts, ", ")
	}
	switch removed, added := unmatched(before, after); {
	case len(removed) > 0 || len(added) > 0:
		d.add("routes", pick(before, removed), pick(after, added))
	case !slices.Equal(before, after):
		d.add("routes", "the order of the routes", "another order")
	}
}

func routeTexts(routes []Route) []string {
	texts := make([]string, len(routes))
	for i := range routes {
		texts[i] = routes[i].fields().current()
	}
	return texts
}
