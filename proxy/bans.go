package proxy

import "l4proxy/bans"

// BanRule stands for the bans where rules of access control lists are counted and logged.
const BanRule = "ban"

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
