package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// pulse is a question to one event loop: is it alive? At most one waits for an answer, however
// often it is asked: a loop that hangs must not gather messages.
type pulse struct {
	mu     sync.Mutex
	asking chan struct{} // closed by the loop; nil if no question is in its mailbox
}

// ask returns what the loop closes when it has come to the question. ok is false if the loop has
// ended.
func (p *pulse) ask(w *worker) (answered <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking != nil {
		return p.asking, true
	}
	asking := make(chan struct{})
	if !w.loop.Post(func(*worker) { p.answer(asking) }) {
		return nil, false
	}
	p.asking = asking
	return asking, true
}

func (p *pulse) answer(asking chan struct{}) {
	p.mu.Lock()
	p.asking = nil
	p.mu.Unlock()
	close(asking)
}

// Alive waits until every event loop has answered. If ctx is done first, the error names the loops
// that do not answer.
func (s *Server) Alive(ctx context.Context) error {
	answers := make([]<-chan struct{}, len(s.workers))
	for i, w := range s.workers {
		answered, ok := w.pulse.ask(w)
		if !ok {
			return fmt.Errorf("event loop %d has ended", i)
		}
		answers[i] = answered
	}
	var silent []error
	for i, answered := range answers {
		select {
		case <-answered:
			continue
		default:
		}
		select {
		case <-answered:
		case <-ctx.Done():
			silent = append(silent, fmt.Errorf("event loop %d does not answer", i))
		}
	}
	return errors.Join(silent...)
}

// MaxConnections is the most connections at once, of all listeners; 0 means no limit.
func (s *Server) MaxConnections() int { return int(s.slots.all.Limit()) }
