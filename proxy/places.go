package proxy

// reservePart is the part of max_connections that is reserved for listeners, in equal shares: a quarter.
const reservePart = 4

// reservePlaces reserves a share of the process's connection slots for each listener. Without it, one listener could take
// all slots and hold up all others. For example, its connections may come back to it through another proxy, each of them
// causing the next. The proxy cannot detect such a loop: all of these connections look like ordinary clients.
//
// A listener's first slots come from its share, and the rest from the slots that all listeners have in common.
func (s *Server) reservePlaces() {
	n := int64(len(s.state.Listeners))
	if s.limit.Max == 0 || n < 2 {
		return
	}
	s.share = s.limit.Max / (reservePart * n)
	s.common.Max = s.limit.Max - n*s.share
}

// takePlace takes a slot of both the process and the listener, or none.
func (s *Server) takePlace(l *Listener) bool {
	if !l.Limit.Take() {
		return false
	}
	// A listener takes from the common slots exactly what it holds beyond its share, in whatever order loops count.
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

// room is how many more clients of the listener there are slots for.
func (s *Server) room(l *Listener) int {
	room := min(s.limit.Room(), l.Limit.Room())
	if s.share > 0 {
		room = min(room, s.common.Room()+int(max(0, s.share-l.held.Load())))
	}
	return room
}
