package admin

import "time"

// SetPatience changes how long clients may take to read an answer.
func (s *Server) SetPatience(d time.Duration) { s.patience = d }

// Open is the number of open connections.
func (s *Server) Open() int {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return len(s.conns.open)
}

// SetHeartbeat changes how often event streams have a comment.
func (s *Server) SetHeartbeat(d time.Duration) { s.streams.silent = d }

// Streams is the number of open event streams.
func (s *Server) Streams() int { return len(s.streams.slots) }
