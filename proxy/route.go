package proxy

import (
	"iter"

	"l4proxy/clienthello"
	"l4proxy/route"
)

// alertUnrecognizedName is a TLS record with the fatal alert unrecognized_name (RFC 8446, 5.1 and
// 6.2; RFC 6066, 3): what a server answers that does not have the name that a client asks for.
var alertUnrecognizedName = []byte{21, 3, 3, 0, 2, 2, 112}

// readsFirst reports whether the pool depends on what clients send.
func (l *Listener) readsFirst() bool { return l.Routes != nil }

// route is the pool of a client that has sent a ClientHello, or bytes that are none; nil for a
// client from which nothing was read. It returns nil if no pool takes the client.
func (l *Listener) route(hello *clienthello.Hello) *Pool {
	if l.Routes != nil && hello != nil {
		if i := l.Routes.Find(hello); i != route.None {
			return l.RoutePools[i]
		}
	}
	return l.Pool
}

// pools are the pools that clients of the listener may go to. One may come more than once.
func (l *Listener) pools() iter.Seq[*Pool] {
	return func(yield func(*Pool) bool) {
		if l.Pool != nil && !yield(l.Pool) {
			return
		}
		for _, p := range l.RoutePools {
			if !yield(p) {
				return
			}
		}
	}
}

// poolName is the name of the pool of clients that no route takes, "" if there is none.
func (l *Listener) poolName() string {
	if l.Pool == nil {
		return ""
	}
	return l.Pool.Name
}

// noRoute turns away a client that no route takes, on a listener without a pool of its own.
func (w *worker) noRoute(c *conn) {
	var message []byte
	if heard := c.hello.heard(); heard != nil && heard.TLS {
		message = alertUnrecognizedName
	}
	w.turnAway(c, message, Outcome{Side: SideProxy, Reason: ReasonNoRoute})
}
