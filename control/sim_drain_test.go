package control

import (
	"time"

	"l4proxy/backend"
)

// nextDrain has an operator drain backends and take that back, now and then, as long as there is
// trouble.
func (s *simulation) nextDrain() {
	if s.drains == 0 {
		return
	}
	s.loop.after(s.around(s.drains), func() {
		if s.mended {
			return
		}
		if n := len(s.twin.backends); n > 0 {
			b := s.twin.backends[s.rand.IntN(n)]
			to := backend.AdminUp
			if !b.drained || s.chance(0.2) {
				to = backend.AdminDrain + backend.Admin(s.rand.IntN(2))
			}
			s.setAdmin(b, to)
		}
		s.nextDrain()
	})
}

// setAdmin does what an operator demands.
func (s *simulation) setAdmin(b *twinBackend, to backend.Admin) {
	if s.tracing {
		s.trace("(%s is set to %s)", b.real.Address, to)
	}
	waiting := len(s.twin.queue)
	s.twin.setDrained(b, to != backend.AdminUp, s.loop.now)
	s.balancer.SetAdmin(b.real.Backend, to, s.loop.now)
	s.wantTicks() // as the Watch does
	switch {
	case to != backend.AdminUp && b.active > 0:
		s.happened("drained with connections")
	case len(s.twin.queue) < waiting:
		s.happened("granted by the end of a drain")
	}
	if s.twin.inService() == 0 {
		s.happened("drained all")
	}
	if to == backend.AdminDown && s.endOnDown {
		s.endAll(b.number, false)
	}
}

func (t *twin) setDrained(b *twinBackend, drained bool, now int64) {
	if b.drained && !drained {
		t.startSlowly(b, now)
	}
	b.drained = drained
	b.onTrial = false
}

// inService is the number of backends that are not drained.
func (t *twin) inService() int {
	n := 0
	for _, b := range t.backends {
		if !b.drained {
			n++
		}
	}
	return n
}

// drawDrains draws how often something is drained.
func (s *simulation) drawDrains() {
	if s.chance(0.4) {
		s.drains = s.between(300*time.Millisecond, 5*time.Second)
	}
}
