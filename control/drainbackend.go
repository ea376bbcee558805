package control

import (
	"fmt"
	"slices"
	"strings"

	"l4proxy/backend"
)

// SetBackend sets what an operator wants of a backend, which is known by its address as configured
// or as resolved. A host name stands for all of its addresses. An empty pool means the only one
// that has the backend. The setting lasts until it is set to [backend.AdminUp], or until the
// backend is removed from the configuration.
//
// With a timeout, its connections end as they become quiet. Without one, AdminDrain leaves them
// alone, and AdminDown does what the pool's on_down says.
func (l *Live) SetBackend(pool, address string, to backend.Admin, o DrainOptions) (Drain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pool, keys, err := l.findBackend(pool, address)
	if err != nil {
		return Drain{}, err
	}
	if name := keys[0].Address; to == backend.AdminUp && address != name && l.drains.backends[pool][name] != nil {
		return Drain{}, fmt.Errorf("backend %s is drained by its name: set %s to up", address, name)
	}
	live := l.pools[pool]
	before := int64(0)
	for _, key := range keys {
		before += live.backends[key].Active()
	}
	d := newDrain(to, before, o)
	d.name = keys[0].Address
	l.drains.set(pool, address, keys, d)
	for _, key := range keys {
		b := live.backends[key]
		change := adminChange{backend: b, from: b.Admin(), to: to}
		change.ending, change.gently = d.ending(o)
		change.ending.Backend = b
		live.balancer.SetAdmin(b, to, l.clock())
		live.watch.admin.Post(change)
	}
	description := d.describe()
	description.Pool, description.Backend, description.Connections = pool, address, before
	return description, nil
}

// findBackend finds the backends with an address.
func (l *Live) findBackend(pool, address string) (found string, keys []BackendKey, err error) {
	if pool != "" && l.pools[pool] == nil {
		return "", nil, fmt.Errorf("%w pool %s", ErrUnknown, pool)
	}
	var in []string
	for name, live := range l.pools {
		if pool != "" && name != pool {
			continue
		}
		for key := range live.backends {
			if key.matches(address) {
				keys = append(keys, key)
				found = name
				if !slices.Contains(in, name) {
					in = append(in, name)
				}
			}
		}
	}
	slices.Sort(in)
	switch {
	case len(in) > 1:
		return "", nil, fmt.Errorf("the pools %s all have a backend %s: name the pool, too", strings.Join(in, ", "), address)
	case len(in) == 0 && pool != "":
		return "", nil, fmt.Errorf("%w backend %s in the pool %s", ErrUnknown, address, pool)
	case len(in) == 0:
		return "", nil, fmt.Errorf("%w backend %s", ErrUnknown, address)
	}
	return found, keys, nil
}

// set notes what is wanted of the backends with an address. What was wanted of them before is over.
func (d *drains) set(pool, address string, keys []BackendKey, next *drain) {
	of := d.backends[pool]
	forget := func(address string) {
		if old := of[address]; old != nil {
			old.over.Store(true)
			delete(of, address)
		}
	}
	forget(address)
	if address == keys[0].Address { // of a host name: its addresses follow it from now on
		for _, key := range keys {
			forget(key.Endpoint.String())
		}
	}
	if next.admin == backend.AdminUp {
		return
	}
	if of == nil {
		of = make(map[string]*drain)
		d.backends[pool] = of
	}
	of[address] = next
}
