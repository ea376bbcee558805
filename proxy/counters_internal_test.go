package proxy

import (
	"sync"
	"testing"
)

// TestCountsUnderWay sums up while loops count: no sum says that more clients have ended than were accepted.
func TestCountsUnderWay(t *testing.T) {
	const clients = 3_000_000
	l := &Listener{Pool: new(Pool)}
	s := &Server{state: &State{Listeners: []*Listener{l}}}
	for range 2 {
		s.workers = append(s.workers, &worker{server: s, counters: newCounters(s.state)})
	}
	var loops sync.WaitGroup
	loops.Go(func() { // the second loop ends what the first accepts
		c := &conn{listener: l, outcome: Outcome{Side: SideClient, Reason: ReasonClosed}}
		for range clients {
			s.workers[0].counters.listeners[l].accepted.add(1)
			s.workers[1].counters.connEnded(c)
		}
	})
	for over := false; !over; {
		of := s.Counts().Listeners[0]
		if accepted, ended := of.Accepted, of.AllEnded(); ended > accepted {
			t.Fatalf("%d clients have ended, and %d were accepted", ended, accepted)
		}
		over = of.Accepted == clients
	}
	loops.Wait()
}
