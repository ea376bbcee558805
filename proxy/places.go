package proxy

// reservePart is the part of max_connections that is kept for listeners, in equal shares: a quarter.
const reservePart = 4

// reservePlaces keeps a share of the process's places for each listener. Without it, one listener that takes all there
// are holds up all others: one whose connections come back to it through another proxy, say, each of which makes another
// one. That cannot be seen from here, as every one of them is a client like any other.
//
// A listener's first places are from its share, and the others from what all have in common.
func (s *Server) reservePlaces() {
	n := int64(len(s.state.Listeners))
	if s.limit.Max == 0 || n < 2 {
		return
	}
	s.share = s.limit.Max / (reservePart * n)
	s.common.Max = s.limit.Max - n*s.share
}

// takePlace takes a place of the process and of the listener, or neither.
func (s *Server) takePlace(l *Listener) bool {
	if !l.Limit.Take() {
		return false
	}
	// What a listener has in common with others is always what it holds beyond its share, in whatever order loops count.
	if l.held.Add(1) > s.share && s.share > 0 && s.common.used.Add(1) > s.common.Max || !s.limit.Take() {
		s.giveShare(l)
		l.Limit.Give()
		return false
	}
	return true
}

func (s *Server) givePlace(l *Listener) {
	s.limit.Give()
	s.giveShare(l)
	l.Limit.Give()
}

func (s *Server) giveShare(l *Listener) {
	if l.held.Add(-1) >= s.share && s.share > 0 {
		s.common.Give()
	}
}

// room is for how many more clients of the listener there is a place.
func (s *Server) room(l *Listener) int {
	room := min(s.limit.Room(), l.Limit.Room())
	if s.share > 0 {
		room = min(room, s.common.Room()+int(max(0, s.share-l.held.Load())))
	}
	return room
}
