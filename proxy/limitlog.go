package proxy

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/clientlimit"
	"l4proxy/internal/rawsys"
)

// limitEvery is how often a limit that stays reached is logged.
const limitEvery = 10 * time.Second

// limitLog keeps the log line about a limit from being written for every client.
type limitLog struct{ next atomic.Int64 } // loop clock

// due reports whether it is time for a line.
func (l *limitLog) due() bool {
	now, next := rawsys.Monotonic(), l.next.Load()
	return now >= next && l.next.CompareAndSwap(next, now+int64(limitEvery))
}

// limitLogs has one limitLog per message.
type limitLogs struct{ accepting, dialling, connections, unrated, denied limitLog }

// acceptFailed logs that a client of l could not be accepted.
func (s *Server) acceptFailed(l *Listener, errno unix.Errno) {
	if s.limits.accepting.due() {
		s.log.Warn("accepting paused: out of file descriptors or memory",
			"listener", l.Name, "error", errno.Error())
	}
}

// dialShort logs that a dial for a client of l waits for a descriptor, and all new clients with it.
func (s *Server) dialShort(l *Listener) {
	if s.limits.dialling.due() {
		s.log.Warn("dialing paused: out of file descriptors or memory", "listener", l.Name)
	}
}

// limitReached logs that new clients of l wait for a slot.
func (s *Server) limitReached(l *Listener) {
	switch {
	case !s.limits.connections.due():
	case l.Slots != nil && l.Slots.Full():
		s.log.Warn("listener at max_connections: new clients wait",
			"listener", l.Name, "limit", l.Slots.Limit())
	case !s.slots.all.Full():
		s.log.Warn("max_connections reached, the rest is reserved for other listeners: new clients wait",
			"listener", l.Name, "limit", s.slots.all.Limit())
	default:
		s.log.Warn("max_connections reached: new clients wait", "limit", s.slots.all.Limit())
	}
}

// unrated logs that a client of l has connected while the table of recent clients was full.
func (s *Server) unrated(l *Listener) {
	if s.limits.unrated.due() {
		s.log.Warn("per_client.rate not applied: too many clients have just connected", "listener", l.Name,
			"tracked", clientlimit.Capacity)
	}
}
