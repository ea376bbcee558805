package control

import (
	"math"
	"net/netip"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
)

// simPatience is how long it may take after all faults are mended until everything is as at the
// start: the last clients go, a backend is in backoff for no more than half a minute, and the
// longest ejection and the slow start end.
const simPatience = 2 * time.Minute

// run continues until everything is as it was, and all clients have left.
func (s *simulation) run() {
	for !s.mended || !s.settled() {
		if s.mended && s.loop.now > s.start+int64(s.trouble+simPatience) {
			s.violated(ruleEnd, "not everything is as at the start: %s", s)
		}
		s.step()
	}
	s.closed = true
	for s.clients > 0 || s.ticking {
		if s.loop.now > s.start+int64(s.trouble+2*simPatience) {
			s.violated(ruleEnd, "%d clients have not left, ticks are wanted %t: %s", s.clients, s.ticking, s)
		}
		s.step()
	}
	for _, b := range s.twin.all {
		if b.active != 0 {
			s.violated(ruleEnd, "%d connections are left: %s", b.active, s)
		}
	}
	s.checkSpread()
}

func (s *simulation) step() {
	s.loop.step()
	s.check()
}

// settled reports whether everything is as at the start, as far as the twin knows. A backup in
// backoff may stay so until it is needed, but no longer.
func (s *simulation) settled() bool {
	if s.loop.now < s.start+int64(s.trouble+s.connectTimeout+time.Second) {
		return false // dials and silent connections of before are still to end
	}
	for _, b := range s.twin.backends {
		backoff := b.failures > 0 && (b.tier == 0 || b.until > s.loop.now || b.probing)
		if backoff || b.ejectedUntil != 0 || b.rising || s.checked && b.health != backend.HealthUp {
			return false
		}
	}
	return len(s.twin.queue) == 0
}

// checkShares compares the shares of the backends with those that the twin knows.
func (s *simulation) checkShares() {
	for _, tier := range s.twin.tiers {
		sum := 0.0
		var serving []*twinBackend
		for _, b := range tier {
			if state := s.twin.state(b, s.loop.now); state == simFree || state == simFull {
				serving = append(serving, b)
				sum += b.weight
			}
		}
		if len(serving) == 0 {
			continue
		}
		shares := s.balancer.Shares()
		if len(shares) != len(serving) {
			s.violated(ruleTier, "%d backends have a share: %s", len(shares), s)
		}
		for _, share := range shares {
			if s.twin.of(share.Backend).rising {
				s.happened("started slowly")
			}
			if want := s.twin.of(share.Backend).weight / sum; math.Abs(share.Weight-want) > 1e-6 {
				s.violated(ruleSlow, "the share of %s is %.3f, want %.3f: %s", share.Backend.Address, share.Weight, want, s)
			}
		}
		return
	}
	if shares := s.balancer.Shares(); shares != nil {
		s.violated(ruleTier, "%d backends have a share: %s", len(shares), s)
	}
}

// checkSpread holds that each backend of the first tier gets its share of the clients again, and
// the others get none.
func (s *simulation) checkSpread() {
	s.checkShares()
	tolerance, exact := map[string]int{"least_conn": 0, "round_robin": 2}[s.options.Policy]
	sum, room := 0, true
	for _, b := range s.twin.tiers[0] {
		sum += b.real.Weight
		room = room && (b.real.MaxConnections == 0 || int(b.real.MaxConnections) >= b.real.Weight+tolerance)
	}
	var dials []*simDial
	c := &simClient{addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}
	for range sum {
		d, verdict := s.ask(c, &simRequest{}, nil)
		if verdict != balancer.Picked {
			if room && exact {
				s.violated(ruleEnd, "verdict %d when all is well: %s", verdict, s)
			}
			break
		}
		dials = append(dials, d)
		if room && exact && s.twin.of(d.backend).tier > 0 {
			s.violated(ruleEnd, "%s serves: %s", d.backend.Address, s)
		}
	}
	for _, b := range s.twin.tiers[0] {
		if off := b.active - b.real.Weight; room && exact && (off > tolerance || off < -tolerance) {
			s.violated(ruleEnd, "%s has %d of %d connections, want %d: %s", b.real.Address, b.active, sum, b.real.Weight, s)
		}
	}
	for _, d := range dials {
		s.done(d)
	}
	s.check()
}
