package proxy

import "time"

// LoopUsage is what one event loop uses.
type LoopUsage struct {
	// CPU is the CPU time of the loop's thread, and Delay how long that was ready to run and waited
	// for a CPU. Each is -1 if it is unknown.
	CPU, Delay  time.Duration
	Connections int64
}

// LoopUsages are those of all loops, in their order. No loop is asked.
func (s *Server) LoopUsages() []LoopUsage {
	all := make([]LoopUsage, 0, len(s.workers))
	for _, w := range s.workers {
		u := LoopUsage{CPU: -1, Delay: -1, Connections: w.load.Load()}
		if cpu, ok := w.loop.CPUTime(); ok {
			u.CPU = cpu
		}
		if delay, ok := w.loop.RunDelay(); ok {
			u.Delay = delay
		}
		all = append(all, u)
	}
	return all
}
