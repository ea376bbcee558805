package control

import (
	"net"
	"net/netip"
	"slices"
)

// ownBind is an address at which a listener of this proxy listens.
type ownBind struct {
	addr  netip.Addr // invalid: all addresses
	path  string
	pools []string // to which the listener sends clients
}

// ownBinds are those of a plan, by port; those of unix sockets are at port 0.
func ownBinds(listeners []ListenerPlan) map[uint16][]ownBind {
	binds := make(map[uint16][]ownBind)
	for i := range listeners {
		pools := listeners[i].poolNames()
		for _, b := range listeners[i].Binds {
			port := b.Addr.Port()
			if b.IsUnix() {
				port = 0
			} else if port == 0 {
				continue // the kernel chooses one
			}
			binds[port] = append(binds[port], ownBind{b.Addr.Addr().WithZone(""), b.Path, pools})
		}
	}
	return binds
}

// leadsBack reports whether connections to an endpoint would come back to the pool through
// listeners of this proxy. [config.CheckAddresses] refuses that in a configuration; here it is a
// name that has got another address.
func (l *Live) leadsBack(pool string, e Endpoint) bool {
	seen := make(map[string]bool)
	var reaches func(e Endpoint) bool
	leads := func(next string) bool {
		if next == pool || seen[next] {
			return next == pool
		}
		seen[next] = true
		to := l.pools[next]
		return to != nil && slices.ContainsFunc(to.plan.Members, func(m MemberPlan) bool { return reaches(m.Key.Endpoint) })
	}
	reaches = func(e Endpoint) bool {
		return slices.ContainsFunc(l.binds[e.TCP.Port()], func(b ownBind) bool {
			return b.takes(e) && slices.ContainsFunc(b.pools, leads)
		})
	}
	return reaches(e)
}

// takes reports whether a dial to e, which has the port of b, reaches b.
func (b *ownBind) takes(e Endpoint) bool {
	if e.Path != "" || b.path != "" {
		return e.Path == b.path
	}
	ip := e.TCP.Addr().WithZone("")
	switch {
	case b.addr == ip:
		return true
	case b.addr.IsValid() && !b.addr.IsUnspecified(), b.addr == netip.IPv4Unspecified() && !ip.Is4():
		return false
	}
	return ip.IsLoopback() || isOfThisMachine(ip)
}

// isOfThisMachine asks the system each time: addresses come and go.
func isOfThisMachine(ip netip.Addr) bool {
	addrs, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip
	})
}
