package proxy

import (
	"net/netip"

	"l4proxy/clientlimit"
)

// The limits of each client (per_client). A connection counts from its admission until it ends or
// is turned away, in whatever way it ends: arrival.limited and flagLimited say that it does.

// overRules are the names of the limits, by the reason for which they deny a client.
var overRules = map[Reason]string{
	ReasonClientConnections: "per_client.connections",
	ReasonClientRate:        "per_client.rate",
}

// overLimit counts a connection of a client of l, if the client may have another one. Otherwise it
// returns the reason, for the caller to deny the client by [Listener.OverLimit] and the name in
// overRules. client is the address that decides, which for a client with a PROXY protocol header is
// known only when there is a conn already.
//
// If it reports that the connection counts, the caller sets arrival.limited or flagLimited. From
// then on, the end of the arrival or the conn takes the count back.
func (w *worker) overLimit(l *Listener, client netip.Addr) (counts bool, over Reason) {
	if l.Clients == nil || !client.IsValid() { // clients of unix sockets have no address
		return false, ReasonNone
	}
	switch l.Clients.Take(client, w.loop.Now()) {
	case clientlimit.CountedUnrated:
		w.listenerCounters(l).unrated.add(1)
		w.server.unrated(l)
	case clientlimit.OverConnections:
		w.listenerCounters(l).overConnections.add(1)
		return false, ReasonClientConnections
	case clientlimit.OverRate:
		w.listenerCounters(l).overRate.add(1)
		return false, ReasonClientRate
	case clientlimit.Counted:
	}
	return true, ReasonNone
}

// limitAnyway counts a connection that exists already, even beyond the limits. It reports whether
// it counts.
func (l *Listener) limitAnyway(client netip.Addr) bool {
	if l.Clients == nil || !client.IsValid() {
		return false
	}
	l.Clients.Adopt(client)
	return true
}

// unlimit ends the count of an arrival, if it counts.
func (a *arrival) unlimit() {
	if a.limited {
		a.limited = false
		a.listener.Clients.Release(a.client.Addr())
	}
}

// unlimit ends the count of a connection, if it counts.
func (c *conn) unlimit() {
	if c.flags&flagLimited != 0 {
		c.flags &^= flagLimited
		c.listener.Clients.Release(c.client.Addr())
	}
}

// OverLimits are the connections that each of the limits of a client has refused.
func (c *ListenerCounts) OverLimits() (connections, rate uint64) {
	for _, r := range c.Rules {
		switch r.Rule {
		case overRules[ReasonClientConnections]:
			connections += r.Hits
		case overRules[ReasonClientRate]:
			rate += r.Hits
		}
	}
	return connections, rate
}

// addLimited adds what the limits of each client have refused.
func (c *ListenerCounts) addLimited(l *Listener) {
	if l.Clients == nil && c.overConnections+c.overRate == 0 {
		return
	}
	c.Rules = append(c.Rules,
		RuleCount{Rule: overRules[ReasonClientConnections], Kind: RuleDeny, Hits: c.overConnections},
		RuleCount{Rule: overRules[ReasonClientRate], Kind: RuleDeny, Hits: c.overRate})
}
