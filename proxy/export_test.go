package proxy

// Loads are the numbers of connections on the event loops.
func (s *Server) Loads() []int64 {
	var loads []int64
	for _, w := range s.workers {
		loads = append(loads, w.load.Load())
	}
	return loads
}

// OpenListeningSockets is the number of listening sockets, with those that are being closed.
func (s *Server) OpenListeningSockets() int { return int(s.listening.Load()) }

// Engines and EnginesTogether are for the tests outside the package.
var (
	Engines         = insideEngines
	EnginesTogether = insideEnginesTogether
)
