package control

import (
	"l4proxy/acl"
	"l4proxy/clientlimit"
	"l4proxy/config"
	"l4proxy/proxy"
)

// ClientsPlan are the limits of each client of a listener.
type ClientsPlan struct {
	clientlimit.Limits
	clientlimit.Prefixes
}

// buildClients makes the limits of each client; nil if there are none.
func buildClients(p *config.PerClient) *ClientsPlan {
	if p == nil || p.Connections == 0 && p.Rate == 0 {
		return nil
	}
	return &ClientsPlan{
		clientlimit.Limits{Connections: p.Connections, Rate: p.Rate, Burst: p.Burst},
		clientlimit.Prefixes{IPv4: p.IPv4Prefix, IPv6: p.IPv6Prefix},
	}
}

// clientsFor returns the live counts of a listener's clients, nil if they have no limits. The
// counts of before carry on if the same addresses are one client; with other prefixes, counting
// begins again.
func (l *Live) clientsFor(p *ListenerPlan) *clientlimit.Limiter {
	if p.PerClient == nil {
		return nil
	}
	if known := l.clients[p.Name]; known != nil && known.Prefixes() == p.PerClient.Prefixes {
		return known
	}
	fresh := clientlimit.New(p.PerClient.Prefixes)
	fresh.SetLimits(p.PerClient.Limits)
	return fresh
}

// limitClients puts the limits of a plan into effect. Those of listeners without limits are kept
// while connections count there: the limits may come back.
func (l *Live) limitClients(p *Plan, state *proxy.State) {
	next := make(map[string]*clientlimit.Limiter)
	for name, known := range l.clients {
		if known.Clients() > 0 {
			next[name] = known
		}
	}
	for i, listener := range state.Listeners {
		if listener.Clients != nil {
			listener.Clients.SetLimits(p.Listeners[i].PerClient.Limits)
			next[listener.Name] = listener.Clients
		}
	}
	l.clients = next
}

// overLimit is what happens to a client beyond its limits.
func overLimit(p *config.PerClient) acl.Action {
	if p == nil {
		return acl.Reset
	}
	return denyActions[p.With]
}
