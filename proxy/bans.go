package proxy

import "l4proxy/bans"

// BanRule stands for the bans where rules of access control lists are counted and logged.
const BanRule = "ban"

// banned ends a client whose address is banned, and reports whether it did.
func (w *worker) banned(a *arrival, counts *listenerCounters) bool {
	ban := w.server.bans.Find(a.client.Addr(), w.loop.Now())
	if ban == nil {
		return false
	}
	counts.banned.add(1)
	w.deny(*a, w.server.bans.ActionOf(ban), ReasonBanned, BanRule)
	return true
}

// Bans are the banned prefixes; nil if there never are any.
func (s *Server) Bans() *bans.Store { return s.bans }

// findBan finds the ban of the client of an explanation.
func (e *Explanation) findBan(s *Server) {
	if s.bans == nil {
		return
	}
	now := s.now()
	if e.Ban = s.bans.Find(e.Client, now); e.Ban != nil {
		e.BanLeft, e.BanAge, e.BanAction = e.Ban.Left(now), e.Ban.Age(now), s.bans.ActionOf(e.Ban)
	}
}
