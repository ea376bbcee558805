package proxy

// Loads are the connections on each event loop.
func (s *Server) Loads() []int64 {
	var loads []int64
	for _, w := range s.workers {
		loads = append(loads, w.load.Load())
	}
	return loads
}
