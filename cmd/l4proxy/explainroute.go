package main

import (
	"fmt"
	"strconv"
	"strings"

	"l4proxy/admin"
	"l4proxy/clienthello"
	"l4proxy/proxy"
	"l4proxy/route"
)

// helloOf is what the client of a query sends first, in the form in which the data plane reads it.
func helloOf(q *admin.ExplainQuery) (*clienthello.Hello, error) {
	h := &clienthello.Hello{TLS: q.TLS == nil || *q.TLS}
	if !h.TLS {
		if q.SNI != "" || q.ALPN != "" {
			return nil, admin.Invalid("a client without TLS sends neither a server name nor ALPN", "leave out sni and alpn, or tls")
		}
		return h, nil
	}
	if q.SNI != "" {
		name, ok := clienthello.ServerName(q.SNI)
		if !ok {
			return nil, admin.Invalid(strconv.Quote(q.SNI)+" is not a server name: a client that sends it is refused (bad_client_hello)",
				"write a name such as www.example.com")
		}
		h.ServerName = name
	}
	if q.ALPN != "" {
		h.ALPN = strings.Split(q.ALPN, ",")
	}
	return h, nil
}

// routeText says which route takes the client, and that the listener reads before it can tell; ""
// if there is nothing to say.
func routeText(e *proxy.Explanation, shown *admin.Explain, h *clienthello.Hello) string {
	switch {
	case !e.Reads && (h.ServerName != "" || len(h.ALPN) > 0 || !h.TLS):
		return "route: what the client sends makes no difference: the listener has no routes"
	case !e.Reads:
		return ""
	}
	text := fmt.Sprintf("route: reads the client's first bytes, for %s at most; with %s, ", e.Listener.Handshake, helloText(h))
	switch {
	case e.Route != route.None:
		return text + fmt.Sprintf("routes[%d] takes it (%s)", e.Route, shown.Route.Clients)
	case e.Pool != nil:
		return text + "no route takes it, so the pool of the listener does"
	}
	return text + "no route takes it, and the listener has no pool for others"
}

// helloText describes what a client sends first.
func helloText(h *clienthello.Hello) string {
	if !h.TLS {
		return "no TLS"
	}
	text := "no server name"
	if h.ServerName != "" {
		text = "the server name " + h.ServerName
	}
	if len(h.ALPN) == 0 {
		return text + " and no ALPN"
	}
	return text + " and ALPN " + strings.Join(h.ALPN, ", ")
}

// unrouted is what a client gets that no pool takes.
func unrouted(h *clienthello.Hello) string {
	if h.TLS {
		return "it gets the TLS alert unrecognized_name, and the connection is closed"
	}
	return "the connection is closed"
}
