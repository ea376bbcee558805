package control

import (
	"l4proxy/backend"
	"l4proxy/proxy"
)

// adminChange says that an operator has set a backend to something else. The balancer acts on it
// already.
type adminChange struct {
	backend  *backend.Backend
	from, to backend.Admin
	ending   proxy.GentleEnd
	gently   bool // ending is wanted
}

// adminChanged acts on the connections of a backend that an operator has drained, set down or put
// back into service.
func (w *Watch) adminChanged(c adminChange) {
	member, known := w.members[c.backend]
	if !known {
		return // it has left the pool
	}
	log := w.log.With("backend", c.backend.Address, "connections", c.backend.Active())
	switch c.to {
	case backend.AdminUp:
		if c.from == backend.AdminUp {
			return
		}
		log.Info("backend in service again", "previous", c.from.String())
		if c.backend.Health() != backend.HealthDown {
			w.recovered(member)
		}
		return
	case backend.AdminDrain:
		log.Info("backend drained", seconds("timeout", int64(c.ending.Timeout)))
	case backend.AdminDown:
		log.Info("backend set down", seconds("timeout", int64(c.ending.Timeout)))
	}
	switch {
	case c.gently:
		w.plane.EndGently(c.ending)
	case c.to == backend.AdminDown:
		w.evict(c.backend, w.settled.rules.OnDown, proxy.ReasonBackendDown,
			func() bool { return c.backend.Admin() != backend.AdminDown })
	}
}
