package control

import (
	"cmp"
	"slices"

	"l4proxy/balancer"
)

// SavedPools is the live state of all pools on its way to another process. Its JSON form is part of
// the hand-over format (docs/handover.md): fields are added, never renamed.
type SavedPools struct {
	Pools []SavedPool `json:"pools"`
}

// SavedPool is one pool.
type SavedPool struct {
	Name     string         `json:"name"`
	Backends []SavedBackend `json:"backends"`
}

// SavedBackend is one backend of a pool.
type SavedBackend struct {
	Address  string `json:"address"`            // as configured
	Resolved string `json:"resolved,omitempty"` // IP address and port
	balancer.Saved
}

// Export writes down what is known of the backends of all pools.
func (l *Live) Export() SavedPools {
	l.mu.Lock()
	defer l.mu.Unlock()
	saved := SavedPools{Pools: []SavedPool{}}
	for name, pool := range l.pools {
		one := SavedPool{Name: name}
		for key, b := range pool.backends {
			if s, ok := pool.balancer.Save(b); ok {
				one.Backends = append(one.Backends, SavedBackend{Address: key.Address, Resolved: key.resolved(), Saved: s})
			}
		}
		slices.SortFunc(one.Backends, func(a, b SavedBackend) int {
			return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Resolved, b.Resolved))
		})
		saved.Pools = append(saved.Pools, one)
	}
	slices.SortFunc(saved.Pools, func(a, b SavedPool) int { return cmp.Compare(a.Name, b.Name) })
	return saved
}

// Import gives the backends what another process has saved of them: health, backoff, ejection and
// slow start carry on. It is called between the first Apply and Run. Backends that the other
// process did not have start as new ones, and what is saved of others is dropped.
func (l *Live) Import(saved SavedPools) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	for _, one := range saved.Pools {
		pool := l.pools[one.Name]
		if pool == nil {
			continue
		}
		known := make(map[[2]string]balancer.Saved, len(one.Backends))
		for _, b := range one.Backends {
			known[[2]string{b.Address, b.Resolved}] = b.Saved
		}
		for key, b := range pool.backends {
			if s, ok := known[[2]string{key.Address, key.resolved()}]; ok {
				pool.balancer.Load(b, s, now)
			}
		}
	}
}

// resolved is the IP address and port of a backend, "" for a unix socket.
func (k BackendKey) resolved() string {
	if k.Endpoint.Path != "" {
		return ""
	}
	return k.Endpoint.TCP.String()
}
