package control

import "l4proxy/backend"

// A backend that has left its pool is remembered while it has connections. If it comes back, by a
// rollback or because its name resolves to its address again, it is the same object: its
// connections count, and a drain that is under way is canceled.

// backendFor returns the live backend for a member: the one that is in the pool, the one that has
// left it, or a new one. p may be nil.
func (p *livePool) backendFor(m *MemberPlan) *backend.Backend {
	if p != nil {
		if b := p.backends[m.Key]; b != nil {
			return b
		}
		if b := p.departed[m.Key]; b != nil {
			return b
		}
	}
	return &backend.Backend{Address: m.Key.Address, Sockaddr: m.Sockaddr}
}

// departures are the backends that next no longer has, but that have connections.
func (p *livePool) departures(next *livePool) map[BackendKey]*backend.Backend {
	left := make(map[BackendKey]*backend.Backend)
	for _, known := range []map[BackendKey]*backend.Backend{p.departed, p.backends} {
		for key, b := range known {
			if next.backends[key] == nil && b.Active() > 0 {
				left[key] = b
			}
		}
	}
	return left
}
