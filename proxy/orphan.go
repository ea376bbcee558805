package proxy

import (
	"net/netip"
	"slices"
	"sync"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
)

// An orphan is a listener, pool or backend that the configuration of this process does not have,
// and that connections from another process still need. It exists as long as the Server.
type orphans struct {
	mu        sync.Mutex
	listeners map[string]*Listener
	pools     map[string]*Pool
	backends  map[orphanKey]*backend.Backend
}

type orphanKey struct {
	pool string
	MovedBackend
}

// Orphan is a backend that is not in its pool, with connections that were taken over.
type Orphan struct {
	Pool    string
	Backend *backend.Backend
}

// Orphans are the backends of adopted connections that are not in the configuration. They get no
// new connections. What on_removed says about removed backends can be done with them by
// [Server.Evict].
func (s *Server) Orphans() (all []Orphan) {
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	for key, b := range s.orphans.backends {
		if b.Active() > 0 {
			all = append(all, Orphan{key.pool, b})
		}
	}
	return all
}

// listenerOf is the listener of a moved connection.
func (s *Server) listenerOf(m *Moved) *Listener {
	own := s.ledger.Load().state.Listeners
	if i := slices.IndexFunc(own, func(l *Listener) bool { return l.Name == m.Listener }); i >= 0 {
		return own[i]
	}
	pool := s.poolNamed(m.Pool)
	o := &s.orphans
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.listeners[m.Listener]
	if l == nil {
		l = &Listener{
			Name: m.Listener, Pool: pool,
			Idle: max(m.Idle, 0), HalfClose: max(m.HalfClose, 0), CloseOnFIN: m.CloseOnFIN,
		}
		if o.listeners == nil {
			o.listeners = make(map[string]*Listener)
		}
		o.listeners[m.Listener] = l
	}
	return l
}

// poolNamed is the pool of a name, an empty one if it is not configured.
func (s *Server) poolNamed(name string) *Pool {
	for _, l := range s.ledger.Load().state.Listeners {
		for p := range l.pools() {
			if p.Name == name {
				return p
			}
		}
	}
	o := &s.orphans
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.pools[name]
	if p == nil {
		empty, err := balancer.New(nil, balancer.Options{Policy: "first"})
		if err != nil {
			panic(err) // no members, and a policy that exists
		}
		p = &Pool{Name: name, Balancer: empty}
		if o.pools == nil {
			o.pools = make(map[string]*Pool)
		}
		o.pools[name] = p
	}
	return p
}

// backendOf is the backend of a moved connection. known is false if it is an orphan.
func (s *Server) backendOf(p *Pool, m MovedBackend) (b *backend.Backend, known bool) {
	if b := p.find(m); b != nil {
		return b, true
	}
	key := orphanKey{p.Name, m}
	o := &s.orphans
	o.mu.Lock()
	defer o.mu.Unlock()
	b = o.backends[key]
	if b == nil {
		b = &backend.Backend{Address: m.Address, Sockaddr: sockaddrOf(m.Resolved)}
		if o.backends == nil {
			o.backends = make(map[orphanKey]*backend.Backend)
		}
		o.backends[key] = b
	}
	return b, false
}

// find is the backend of the pool at an address, nil if it is not in the pool. A host name stands
// for several addresses, so the one that was dialled counts.
func (p *Pool) find(m MovedBackend) *backend.Backend {
	return p.Balancer.Find(func(b *backend.Backend) bool {
		return b.Address == m.Address && (m.Resolved == "" || b.Sockaddr.String() == m.Resolved)
	})
}

// sockaddrOf is the address of a string made by [rawsys.Sockaddr.String], the zero value for
// others.
func sockaddrOf(text string) *rawsys.Sockaddr {
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return rawsys.InetSockaddr(addr, 0)
	}
	if addr, err := rawsys.UnixSockaddr(text); err == nil {
		return addr
	}
	return new(rawsys.Sockaddr)
}
