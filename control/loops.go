package control

import (
	"net"
	"net/netip"
	"slices"
)

// ownBind is an address at which a listener of this proxy listens.
type ownBind struct {
	addr netip.Addr // invalid: all addresses
	path string
	pool string // of the listener
}

// ownBinds are those of a plan, by port; those of unix sockets are at port 0.
func ownBinds(listeners []ListenerPlan) map[uint16][]ownBind {
	binds := make(map[uint16][]ownBind)
	for i := range listeners {
		for _, b := range listeners[i].Binds {
			port := b.Addr.Port()
			if b.IsUnix() {
				port = 0
			} else if port == 0 {
				continue // the kernel chooses one
			}
			binds[port] = append(binds[port], ownBind{b.Addr.Addr().WithZone(""), b.Path, listeners[i].PoolName})
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
	reaches = func(e Endpoint) bool {
		for _, b := range l.binds[e.TCP.Port()] {
			if !b.takes(e) || seen[b.pool] {
				continue
			}
			if b.pool == pool {
				return true
			}
			seen[b.pool] = true
			if next := l.pools[b.pool]; next != nil && slices.ContainsFunc(next.plan.Members, func(m MemberPlan) bool { return reaches(m.Key.Endpoint) }) {
				return true
			}
		}
		return false
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
