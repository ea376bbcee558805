package proxy

import (
	"net/netip"

	"l4proxy/backend"
)

// A matcher is a ConnFilter on one worker.
type matcher struct {
	ConnFilter
	prefix netip.Prefix // From, as an IPv4 prefix if it is one of IPv4 in IPv6
	// backends are the ones seen so far, and whether they have the address: an address is compared
	// once per backend, not once per connection.
	backends map[*backend.Backend]bool
}

func newMatcher(f *ConnFilter) *matcher {
	m := &matcher{ConnFilter: *f, prefix: f.From}
	if f.From.IsValid() && f.From.Addr().Is4In6() && f.From.Bits() >= 96 {
		m.prefix = netip.PrefixFrom(f.From.Addr().Unmap(), f.From.Bits()-96)
	}
	if f.Backend != "" {
		m.backends = make(map[*backend.Backend]bool)
	}
	return m
}

// matches reports whether a connection is selected. The cheap comparisons come first.
func (m *matcher) matches(c *conn, now int64) bool {
	switch {
	case now-c.accepted < int64(m.OlderThan), now-c.lastActive < int64(m.Idle):
		return false
	case m.Listener != "" && c.listener.Name != m.Listener:
		return false
	case m.Pool != "" && (c.pool == nil || c.pool.Name != m.Pool):
		return false
	case m.From.IsValid() && !m.isFrom(c.client):
		return false
	case m.Backend != "" && !m.isOn(c.backend):
		return false
	}
	return true
}

func (m *matcher) isFrom(peer netip.AddrPort) bool {
	// A prefix contains no address with a zone.
	return peer.IsValid() && m.prefix.Contains(peer.Addr().Unmap().WithZone(""))
}

func (m *matcher) isOn(b *backend.Backend) bool {
	if b == nil {
		return false
	}
	is, known := m.backends[b]
	if !known {
		is = b.Address == m.Backend || b.Sockaddr.String() == m.Backend
		m.backends[b] = is
	}
	return is
}
