package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"l4proxy/discovery"
)

// sourceKey names an entry of a pool that is a name.
type sourceKey struct{ pool, address string }

// following is a source that runs.
type following struct {
	plan SourcePlan
	stop context.CancelFunc
}

// follow starts the sources of new names, and stops those that are no longer in a plan. It is
// called with the lock held.
func (l *Live) follow() {
	if l.Directory == nil {
		return
	}
	wanted := make(map[sourceKey]SourcePlan)
	names := make(map[discovery.Name]bool)
	for name, pool := range l.pools {
		for _, e := range pool.plan.Entries {
			if e.Source != nil {
				wanted[sourceKey{name, e.Address}] = *e.Source
				names[e.Source.Name] = true
			}
		}
	}
	for key, f := range l.following {
		if wanted[key] != f.plan {
			f.stop()
			delete(l.following, key)
		}
	}
	l.Directory.Retain(names)
	if l.running == nil {
		return
	}
	for key, plan := range wanted {
		if _, runs := l.following[key]; runs {
			continue
		}
		ctx, stop := context.WithCancel(l.running.ctx)
		l.following[key] = following{plan, stop}
		source := l.Directory.Follow(plan.Name, plan.Bounds)
		l.running.watches.Go(func() {
			defer stop()
			_ = source.Run(ctx, func(e discovery.Endpoints) { // it ends with ctx
				if ctx.Err() == nil {
					l.fromSource(key, e)
				}
			})
		})
	}
}

func (l *Live) fromSource(key sourceKey, e discovery.Endpoints) {
	update := EndpointUpdate{Pool: key.pool, Source: key.address, Endpoints: e}
	if _, err := l.SetEndpoints(update); err != nil {
		// A reload has just removed the entry.
		l.log.Debug("endpoints ignored", "pool", key.pool, "name", key.address, "error", err.Error())
	}
}

// NameStatus is what is known of a name in a pool.
type NameStatus struct {
	Pool string `json:"pool"`
	// Backend is the entry as configured.
	Backend string `json:"backend"`
	discovery.Status
	// HeldBack are the backends that are no longer in the answer, and that the guard keeps.
	HeldBack []string `json:"held_back,omitempty"`
	// HeldUntil is when the next answer removes them, if they are still missing.
	HeldUntil time.Time `json:"held_until,omitzero"`
	// Refused are the addresses that are this proxy itself.
	Refused []string `json:"refused,omitempty"`
}

// Names returns what is known of the names of backends, in the order of their pools' names.
func (l *Live) Names() []NameStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := []NameStatus{}
	for _, name := range slices.Sorted(maps.Keys(l.pools)) {
		pool := l.pools[name]
		for i := range pool.plan.Entries {
			e := &pool.plan.Entries[i]
			if e.Source == nil {
				continue
			}
			s := NameStatus{Pool: name, Backend: e.Address}
			if l.Directory != nil {
				s.Status = l.Directory.Status(e.Source.Name)
			}
			if state := pool.sources[e.Address]; state.generation > 0 {
				s.HeldBack, s.Refused = e.without(state.wanted), state.refused
				if state.held {
					s.HeldUntil = l.Clock(state.since + int64(pool.plan.Guard.Hold))
				}
			}
			all = append(all, s)
		}
	}
	return all
}
