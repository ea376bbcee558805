package control

import (
	"sync/atomic"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/proxy"
)

// healthChanged acts on a change of a backend's health.
func (w *Watch) healthChanged(c health.Change) {
	member, known := w.members[c.Backend]
	if !known {
		return // it has left the pool
	}
	w.balancer.SetHealth(c.Backend, c.To, w.clock())
	log := w.log.With("backend", c.Backend.Address, "previous", c.From.String(), "checks", c.Checks)
	if c.To == backend.HealthDown {
		log.Warn("backend down", "error", c.Err.Error())
		w.evict(c.Backend, w.settled.rules.OnDown, proxy.ReasonBackendDown,
			func() bool { return c.Backend.Health() != backend.HealthDown })
	} else {
		log.Info("backend up")
		if c.From == backend.HealthDown {
			w.recovered(member)
		}
	}
}

// recovered applies OnRecovered to the backends that stood in for m.
func (w *Watch) recovered(m balancer.Member) {
	if m.Admin() != backend.AdminUp {
		return // it gets no clients
	}
	for _, other := range w.settled.members {
		if other.Priority > m.Priority || other.Priority == m.Priority && other.Far && !m.Far {
			w.evict(other.Backend, w.settled.rules.OnRecovered, proxy.ReasonBackendRecovered,
				func() bool { return m.Health() == backend.HealthDown || m.Admin() != backend.AdminUp })
		}
	}
}

// departure is the leaving of a backend. It is over when the backend has come back.
type departure struct{ over atomic.Bool }

// removed acts on a backend that has left the pool. What its checks found is forgotten: no check
// would correct it if the backend came back.
func (w *Watch) removed(b *backend.Backend) {
	w.balancer.SetHealth(b, backend.HealthUnknown, w.clock())
	d := new(departure)
	if w.left == nil {
		w.left = make(map[*backend.Backend]*departure)
	}
	w.left[b] = d
	w.evict(b, w.settled.rules.OnRemoved, proxy.ReasonBackendRemoved, d.over.Load)
}

// welcome cancels the drains of backends that are back, and forgets those without connections.
func (w *Watch) welcome() {
	for b, d := range w.left {
		_, back := w.members[b]
		if back {
			d.over.Store(true)
		}
		if back || b.Active() == 0 {
			delete(w.left, b)
		}
	}
}

// evict applies an action to the connections of a backend. unless cancels a drain.
func (w *Watch) evict(b *backend.Backend, a config.LiveAction, reason proxy.Reason, unless func() bool) {
	e := proxy.Evict{Backend: b, Reason: reason, Over: w.settled.rules.Spread, Reset: a == config.LiveReset}
	if a == config.LiveDrain {
		e.After, e.Unless = w.settled.rules.Drain, unless
	}
	if n := b.Active(); n > 0 && a != config.LiveKeep {
		w.log.Info("closing connections of backend", "backend", b.Address, "connections", n, "reason", reason.String(),
			"action", a.String(), seconds("after", int64(e.After)), seconds("spread", int64(e.Over)))
		w.plane.Evict(e)
	}
}
