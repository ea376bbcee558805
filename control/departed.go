package control

import (
	"l4proxy/backend"
	"l4proxy/proxy"
)

// A backend that has left its pool is remembered while it has connections. If it comes back, by a
// rollback or because its name resolves to its address again, it is the same object: its
// connections count, and a drain that is under way is canceled. The slots of a removed listener are
// remembered for the same reason.

// finder returns a function that finds the live backend for a member: the one that is in the pool
// (known), the one that has left it, or a new one. An endpoint that comes from another entry now is
// the same backend.
func (p *livePool) finder() func(m *MemberPlan) (b *backend.Backend, known bool) {
	departed, present := byEndpoint(p.departed), byEndpoint(p.backends)
	return func(m *MemberPlan) (*backend.Backend, bool) {
		if b := present[m.Key.Endpoint]; b != nil {
			return b, true
		}
		if b := departed[m.Key.Endpoint]; b != nil {
			return b, false
		}
		return &backend.Backend{Address: m.Name, Sockaddr: m.Sockaddr}, false
	}
}

func byEndpoint(backends map[BackendKey]*backend.Backend) map[Endpoint]*backend.Backend {
	found := make(map[Endpoint]*backend.Backend, len(backends))
	for key, b := range backends {
		found[key.Endpoint] = b
	}
	return found
}

// departures are the backends that next no longer has, but that have connections.
func (p *livePool) departures(next *livePool) map[BackendKey]*backend.Backend {
	left := make(map[BackendKey]*backend.Backend)
	stays := byEndpoint(next.backends)
	for _, known := range []map[BackendKey]*backend.Backend{p.departed, p.backends} {
		for key, b := range known {
			if stays[key.Endpoint] == nil && b.Active() > 0 {
				left[key] = b
			}
		}
	}
	return left
}

// slotsFor returns the slots for a listener, in the same way.
func (l *Live) slotsFor(p *ListenerPlan) *proxy.Slots {
	for _, known := range []map[string]*proxy.Slots{l.slots, l.departed} {
		if s := known[p.Name]; s != nil {
			return s
		}
	}
	return proxy.NewSlots(p.MaxConnections)
}

// departures are the slots that next no longer has, but that are in use.
func (l *Live) departures(next map[string]*proxy.Slots) map[string]*proxy.Slots {
	left := make(map[string]*proxy.Slots)
	for _, known := range []map[string]*proxy.Slots{l.departed, l.slots} {
		for name, s := range known {
			if next[name] == nil && s.Used() > 0 {
				left[name] = s
			}
		}
	}
	return left
}
