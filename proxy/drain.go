package proxy

import (
	"context"
	"errors"
	"time"
)

// Drain stops accepting and waits until all connections have ended by themselves. When the timeout
// is over, or ctx is done, it ends the remaining ones and returns their number. Time in which the
// process was paused does not count, so that answers that arrived meanwhile are still passed on.
func (s *Server) Drain(ctx context.Context, timeout time.Duration) (left int) {
	return s.DrainOver(ctx, timeout, 0, 0).Connections
}

// DrainOver is Drain, but with a spread it also ends connections that are quiet, each from a moment
// within that period on. It describes what is left before it ends that, with most of the oldest
// connections.
func (s *Server) DrainOver(ctx context.Context, timeout, spread time.Duration, most int) *Left {
	s.StopAccepting()
	if spread > 0 {
		ended := make(chan struct{})
		defer close(ended)
		s.EndGently(GentleEnd{Spread: spread, Cancelled: func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}})
	}
	if s.wait(ctx, timeout) {
		return &Left{Listeners: []LeftListener{}, Backends: []LeftBackend{}, Oldest: []LeftConn{}}
	}
	left := s.Left(most)
	reason := ReasonDrainTimeout
	if errors.Is(context.Cause(ctx), context.Canceled) {
		reason = ReasonStopped
	}
	s.EndAll(reason)
	s.wait(context.Background(), endMost)
	return left
}
