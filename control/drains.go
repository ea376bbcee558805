package control

import (
	"slices"
	"strings"

	"l4proxy/backend"
)

// Drains returns what is drained: listeners, then backends, by name.
func (l *Live) Drains() []Drain {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Drain
	for name, d := range l.drains.listeners {
		if d.gone.IsZero() {
			all = append(all, l.describeListener(name, d))
		}
	}
	for pool, of := range l.drains.backends {
		for address, d := range of {
			if !d.gone.IsZero() {
				continue
			}
			description := d.describe()
			description.Pool, description.Backend = pool, address
			for key, b := range l.pools[pool].backends {
				if l.drains.find(pool, key) == d {
					description.Connections += b.Active()
				}
			}
			all = append(all, description)
		}
	}
	slices.SortFunc(all, func(a, b Drain) int {
		return strings.Compare(a.order(), b.order())
	})
	return all
}

// order sorts listeners before backends.
func (d *Drain) order() string {
	if d.Listener != "" {
		return "0" + d.Listener
	}
	return "1" + d.Pool + "\x00" + d.Backend
}

// RestoreDrains puts drains of another process into effect, before Run. What they name and this
// configuration does not have is ignored. The time that is left until a deadline is kept.
func (l *Live) RestoreDrains(all []Drain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, old := range all {
		admin, ok := backend.ParseAdmin(old.State)
		d := newDrain(admin, old.Before, DrainOptions{})
		d.since, d.deadline = old.Since, old.Deadline
		d.closed.Store(old.Closed)
		switch {
		case !ok || admin == backend.AdminUp:
		case old.Listener != "":
			if l.slots[old.Listener] != nil {
				l.drains.listeners[old.Listener] = d
			}
		default:
			pool, keys, err := l.findBackend(old.Pool, old.Backend)
			if err != nil {
				continue
			}
			d.name = keys[0].Address
			l.drains.set(pool, old.Backend, keys, d)
			for _, key := range keys {
				l.pools[pool].balancer.SetAdmin(l.pools[pool].backends[key], admin, l.clock())
			}
		}
	}
}

// resumeDrains puts all drains into effect on a data plane that starts.
func (l *Live) resumeDrains(plane DataPlane) {
	for name, d := range l.drains.listeners {
		if d.gone.IsZero() {
			plane.DrainListener(name, true)
			d.endListener(name, plane)
		}
	}
	for pool, of := range l.drains.backends {
		for _, d := range of {
			g, ok := d.ending(d.left())
			if l.pools[pool] == nil {
				continue // it has left the configuration
			}
			for key, b := range l.pools[pool].backends {
				if ok && l.drains.find(pool, key) == d {
					g.Backend = b
					plane.EndGently(g)
				}
			}
		}
	}
}

// endListener ends the connections of a listener until the deadline, if there is one.
func (d *drain) endListener(name string, plane DataPlane) {
	if g, ok := d.ending(d.left()); ok {
		g.Listener = name
		plane.EndGently(g)
	}
}

// dropListenerDrains ends the drains of listeners that a new configuration does not have. They are
// forgotten only after rollbackTime.
func (l *Live) dropListenerDrains() {
	for name, d := range l.drains.listeners {
		stays := l.slots[name] != nil
		switch {
		case d.lapsed():
			delete(l.drains.listeners, name)
		case stays && !d.gone.IsZero():
			d.comeBack()
			if l.running != nil {
				l.running.plane.DrainListener(name, true)
				d.endListener(name, l.running.plane)
			}
		case !stays && d.gone.IsZero():
			d.leave()
			if l.running != nil {
				l.running.plane.DrainListener(name, false)
			}
		}
	}
}

// dropBackendDrains does the same for backends.
func (l *Live) dropBackendDrains() {
	for pool, of := range l.drains.backends {
		live := l.pools[pool]
		for address, d := range of {
			stays := false
			if live != nil {
				for key := range live.backends {
					stays = stays || key.Address == d.name || key.matches(address)
				}
			}
			switch {
			case d.lapsed():
				delete(of, address)
			case stays && !d.gone.IsZero():
				d.comeBack()
			case !stays && d.gone.IsZero():
				d.leave()
			}
		}
		if len(of) == 0 {
			delete(l.drains.backends, pool)
		}
	}
}

// followDrains sets the backends of a pool to what an operator wants of them. That changes when an
// address comes from another entry than before: a drain may be that of a host name.
func (l *Live) followDrains(pool *livePool) {
	for key, b := range pool.backends {
		if want := l.drains.of(pool.plan.Name, key); b.Admin() != want {
			pool.balancer.SetAdmin(b, want, l.clock())
		}
	}
	for key, b := range pool.returned {
		if d := l.drains.find(pool.plan.Name, key); d != nil && l.running != nil {
			if g, ok := d.ending(d.left()); ok {
				g.Backend = b
				l.running.plane.EndGently(g)
			}
		}
	}
	pool.returned = nil
}
