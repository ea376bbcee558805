package control

import (
	"slices"
	"time"

	"l4proxy/balancer"
)

// connect begins to dial the backend that a client has got, if the machine lets it.
func (s *simulation) connect(c *simClient, d *simDial) {
	if s.misfortune() {
		s.done(d)
		s.loop.after(s.between(50*time.Millisecond, 150*time.Millisecond), func() {
			if !c.gone {
				s.pick(c, simRequest{tried: c.tried})
			}
		})
		return
	}
	c.dial = d
	c.attempts++
	if s.hedge > 0 && c.attempts < s.attempts {
		s.loop.after(s.hedge, func() {
			if c.dial == d && c.rival == nil && !d.relaying {
				s.dialBeside(c)
			}
		})
	}
	s.startDial(d)
}

// misfortune is something that the machine lacks for a moment.
func (s *simulation) misfortune() bool { return s.clumsy && !s.mended && s.chance(0.02) }

// dialBeside dials another backend beside the first.
func (s *simulation) dialBeside(c *simClient) {
	if c.attempts >= s.attempts {
		return
	}
	tried := append(slices.Clone(c.tried), c.dial.backend)
	d, _ := s.ask(c, &simRequest{tried: tried, onlyAvailable: true, beside: s.twin.of(c.dial.backend)}, nil)
	if s.tracing {
		s.trace("client %s dials another beside the first%s", c.addr, named(d))
	}
	if d == nil {
		return
	}
	s.happened("hedged")
	c.rival = d
	c.attempts++
	s.startDial(d)
}

// withdraw gives up a dial that is not needed any more. A moment later that has happened, unless it
// was answered first.
func (s *simulation) withdraw(d *simDial) {
	if d == nil {
		return
	}
	d.withdrawn = true
	late := s.truth[s.number(d.backend)].accepts() && s.chance(0.2)
	s.loop.after(s.between(0, time.Millisecond), func() {
		if late {
			s.ok(d)
		}
		s.done(d)
	})
}

// startDial dials. What comes of it is settled by what the backend is like at this moment.
func (s *simulation) startDial(d *simDial) {
	latency := s.between(100*time.Microsecond, 10*time.Millisecond)
	if s.slow && !s.mended && s.chance(0.1) {
		latency = min(s.between(10*time.Millisecond, 400*time.Millisecond), s.connectTimeout)
	}
	truth := s.truth[s.number(d.backend)]
	end := s.dialRefused
	switch {
	case truth == simSwallows:
		latency = s.connectTimeout
	case truth.accepts():
		end = s.dialAnswered
	}
	if s.misfortune() {
		end = s.dialImpossible
	}
	s.loop.after(latency, func() {
		if !d.over && !d.withdrawn {
			end(d)
		}
	})
}

func (s *simulation) dialAnswered(d *simDial) {
	c := d.client
	if d == c.rival { // the slower one goes into backoff, as if its dial had timed out
		s.happened("hedged well")
		s.tooSlow(c.dial)
		s.withdraw(c.dial)
		c.dial = d
	} else {
		s.withdraw(c.rival)
	}
	c.rival = nil
	s.ok(d)
	s.relay(d)
}

func (s *simulation) dialRefused(d *simDial) {
	s.failed(d)
	s.nextDial(d, true)
}

// dialImpossible is a dial that lacks something on this machine, which says nothing about the
// backend.
func (s *simulation) dialImpossible(d *simDial) { s.nextDial(d, false) }

// nextDial continues after a dial that has come to nothing, by the backend's fault or not, unless
// there is another beside it.
func (s *simulation) nextDial(d *simDial, fault bool) {
	c := d.client
	switch {
	case d == c.rival:
		c.rival = nil
		c.tried = append(c.tried, d.backend)
		s.done(d)
		s.dialBeside(c)
	case c.rival != nil:
		c.tried = append(c.tried, d.backend)
		s.done(d)
		s.happened("hedged when the first failed")
		c.dial, c.rival = c.rival, nil
	default:
		s.dialFailed(c, d, fault)
	}
}

// relay is the connection that has come of a dial.
func (s *simulation) relay(d *simDial) {
	d.relaying, d.asked = true, s.loop.now
	d.client.tried = nil
	truth := &s.truth[s.number(d.backend)]
	switch *truth {
	case simWell:
		if s.chance(0.5) {
			s.answered(d)
		} else {
			s.loop.after(s.between(0, 50*time.Millisecond), func() {
				if !d.over && *truth == simWell {
					s.answered(d)
				}
			})
		}
		stay := s.stay
		if s.mended {
			stay = min(stay, 100*time.Millisecond)
		}
		s.loop.after(s.around(stay), func() { s.ended(d, simServed) })
	case simCloses:
		s.loop.after(s.between(0, 5*time.Millisecond), func() { s.ended(d, simClosed) })
	default: // it hangs, or is gone by now: the client gives up waiting, with a reset
		s.loop.after(s.between(50*time.Millisecond, time.Second), func() { s.ended(d, simGaveUp) })
	}
	s.relaying[s.number(d.backend)] = append(s.relaying[s.number(d.backend)], d)
}

// answered is the first byte from the backend.
func (s *simulation) answered(d *simDial) {
	if s.balancer.Ejects() {
		d.backend.Answered(s.loop.now)
	}
	d.answered = true
	s.twin.answered(s.twin.of(d.backend), s.loop.now)
}

// simEnd is how a connection ends.
type simEnd int

const (
	simServed simEnd = iota
	simClosed        // by the backend, without a byte from it
	simGaveUp        // the client has waited for a byte
)

// simOnce is the time in which a client that gives up counts once.
const simOnce = 500 * time.Millisecond

// ended is the end of a connection.
func (s *simulation) ended(d *simDial, how simEnd) {
	if d.over {
		return
	}
	if how != simServed {
		silence := balancer.Silence{Client: d.client.addr, Asked: d.asked, Now: s.loop.now}
		if how == simGaveUp {
			silence.Once = simOnce
		}
		counts := s.twin.silent(s.twin.of(d.backend), silence)
		if s.tracing {
			s.trace("%s was silent, which counts: %t", d.backend.Address, counts)
		}
		if !counts && s.balancer.Ejects() {
			s.happened("silence did not count")
		}
		if s.balancer.Silent(d.backend, silence) != counts {
			s.violated(ruleEjected, "the silence of %s counts: %t, want %t: %s", d.backend.Address, !counts, counts, s)
		}
	}
	s.done(d)
	s.gone(d.client)
}

// endAll ends the connections of a backend within a short time, by its own fault or not.
func (s *simulation) endAll(i int, fault bool) {
	how := func(d *simDial) simEnd {
		if fault && !d.answered {
			return simClosed
		}
		return simServed
	}
	for _, d := range s.relaying[i] {
		if !d.over {
			s.loop.after(s.between(0, 50*time.Millisecond), func() { s.ended(d, how(d)) })
		}
	}
	s.relaying[i] = s.relaying[i][:0]
}

func (s *simulation) ok(d *simDial) {
	if s.tracing {
		s.trace("%s answers", d.backend.Address)
	}
	s.twin.ok(s.twin.of(d.backend), s.loop.now)
	s.balancer.OK(d.backend, s.loop.now)
}

func (s *simulation) failed(d *simDial) {
	if s.tracing {
		s.trace("%s does not answer", d.backend.Address)
	}
	s.twin.failed(s.twin.of(d.backend), d.began, s.loop.now)
	s.balancer.Failed(d.backend, d.began, s.loop.now)
}

// tooSlow reports a dial that another one has overtaken.
func (s *simulation) tooSlow(d *simDial) {
	s.twin.backOff(s.twin.of(d.backend), d.began, s.loop.now)
	s.balancer.TooSlow(d.backend, d.began, s.loop.now)
}

func (s *simulation) done(d *simDial) {
	if d.over {
		return
	}
	d.over = true
	s.twin.done(s.twin.of(d.backend), d)
	s.balancer.Done(d.backend, s.loop.now)
}

// named is the backend of a dial, if there is one.
func named(d *simDial) string {
	if d == nil {
		return ""
	}
	return ", " + d.backend.Address
}
