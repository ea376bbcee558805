package control

import (
	"cmp"
	"slices"
	"time"

	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/proxy"
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

// CloseListeners closes the listeners that another process has closed: those that are drained, and
// those whose pool cannot serve. It is called after Import and RestoreDrains and before the data
// plane accepts clients. Run would do it too, but only after the first clients.
func (l *Live) CloseListeners(plane DataPlane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.drains.listeners {
		plane.DrainListener(name, true)
	}
	for _, pool := range l.pools {
		if pool.balancer.CanServe() {
			continue
		}
		pool.watch.canServe = false // its Watch does not run yet, and reopens them
		pool.watch.shownCanServe.Store(false)
		for _, listener := range pool.listeners {
			plane.SetListening(listener, false)
		}
	}
}

// EndOrphans does what on_removed says with the connections of another process whose backends are
// not in the configuration. For a pool that does not exist any more, that is the default: drain.
func (l *Live) EndOrphans(all []proxy.Orphan, drain time.Duration, plane DataPlane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range all {
		rules := Rules{OnRemoved: config.LiveDrain, Drain: drain}
		if pool := l.pools[o.Pool]; pool != nil {
			rules = pool.plan.Rules
		}
		w := Watch{log: l.log.With("pool", o.Pool), plane: plane, settled: settings{rules: rules}}
		w.evict(o.Backend, rules.OnRemoved, proxy.ReasonBackendRemoved, nil)
	}
}
