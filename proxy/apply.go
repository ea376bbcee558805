package proxy

import (
	"errors"
	"maps"
	"slices"
)

// errStopping is why a State came too late.
var errStopping = errors.New("the proxy is stopping")

// Apply puts another State into service, with another limit for all connections (0: none). If it
// returns an error, nothing has changed. Otherwise all clients that are accepted from now on get
// the new State. Connections keep the listener and the pool that they began with.
//
// An address that stays keeps its listening sockets and the clients in their queues, also if it
// moves to another listener. A unix socket whose file was removed or replaced is opened again. New
// addresses are opened before others are closed. A removed one is closed when the clients in its
// queue have been accepted, which may be after Apply has returned; they still belong to its old
// listener.
//
// Counts of listeners and pools carry on under their names. A listener that SetListening or
// DrainListener has closed stays closed. state may be one that was applied before.
//
// Apply may be called before Run. Once StopAccepting or Stop was called, it returns an error. It
// must not be called on an event loop, because it waits for all of them.
func (s *Server) Apply(state *State, maxConnections int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unlinked || s.stopped() {
		return errStopping
	}
	c := change{server: s}
	if err := c.prepare(state, nil); err != nil {
		return err
	}
	gone := c.commit(state, maxConnections)
	if !s.running {
		s.leaving = append(s.leaving, gone...)
		return nil
	}
	// Each loop takes its sockets itself. Those of a loop that has ended are closed with the rest.
	answers, ok := ask(s, func(w *worker) []string { return w.apply(&c) })
	if !ok {
		return nil // the server stops, and all connections end
	}
	inUse := make(map[string]bool)
	for _, name := range slices.Concat(answers...) {
		inUse[name] = true
	}
	s.keepBook(s.ledger.Load().without(inUse))
	return nil
}

// stopped reports whether Stop was called.
func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// commit changes what all workers share. It returns the addresses that are gone.
func (c *change) commit(state *State, maxConnections int) (gone []*bound) {
	s := c.server
	old := s.ledger.Load()
	for _, b := range s.bound {
		w, stays := c.keep[b]
		if !stays {
			b.unlink()
			gone = append(gone, b)
			s.log.Info("no longer listening", "listener", b.listener.Name, "address", b.Bind.String())
			continue
		}
		if b.bind.Options.Backlog != w.bind.Options.Backlog {
			c.relisten = append(c.relisten, b)
		}
		b.listener, b.bind, b.access = w.listener, w.bind, w.access()
	}
	for _, b := range c.opened {
		s.log.Info("listening", "listener", b.listener.Name, "address", b.Bind.String())
	}
	s.bound = c.bound
	before := make(map[string]bool)
	for _, l := range old.state.Listeners {
		before[l.Name] = true
	}
	c.stays = make(map[string]bool)
	for _, l := range state.Listeners {
		c.stays[l.Name] = before[l.Name]
	}
	s.slots.divide(int64(maxConnections), state.Listeners, old.state.Listeners)
	s.keepBook(newLedger(state, len(s.workers), old))
	return gone
}

// addSockets gives the workers their listening sockets, before they run.
func (s *Server) addSockets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
	for _, w := range s.workers {
		for _, b := range slices.Concat(s.bound, s.leaving) {
			for _, fd := range b.Take(w.number) {
				w.addSocket(fd, b, b.listener)
			}
		}
		leaving := s.leaving
		w.loop.Post(func(w *worker) {
			w.startAccepting()
			w.closeAll(leaving)
			w.lookForFirstBytes()
		})
	}
	s.leaving = nil
}

// apply fits this worker to another State. It returns the names of the listeners that have sockets
// here, among them removed listeners whose sockets are still being closed.
func (w *worker) apply(c *change) (inUse []string) {
	// A listener of a name that was removed before is another one. A late SetListening may have
	// been about the old one.
	maps.DeleteFunc(w.shut, func(name string, _ shutReasons) bool { return !c.stays[name] })
	var gone []*listenSocket
	for _, s := range w.sockets {
		if s.state == listenClosing || s.state == listenClosed {
			continue
		}
		to, stays := c.keep[s.bound]
		if !stays {
			gone = append(gone, s)
			continue
		}
		moved := s.listener.Name != to.listener.Name
		s.listener = to.listener
		if slices.Contains(c.relisten, s.bound) {
			s.setBacklog(to.bind.Options.Queue())
		}
		if moved {
			s.applyShut()
		}
	}
	for _, b := range c.opened {
		for _, fd := range b.Take(w.number) {
			s := w.addSocket(fd, b, b.listener)
			s.applyShut()
			if s.state == listenNew {
				s.accept()
			}
		}
	}
	for _, s := range gone {
		s.endQueue()
		s.lingers = true
		s.startClosing()
	}
	w.lookForFirstBytes()
	w.paceOpen(w.server.serving())
	w.useFreeSlots() // the limits may have risen
	for _, s := range w.sockets {
		inUse = append(inUse, s.listener.Name)
	}
	return inUse
}

// closeAll closes the sockets of some addresses.
func (w *worker) closeAll(addresses []*bound) {
	for _, s := range slices.Clone(w.sockets) {
		if slices.Contains(addresses, s.bound) {
			s.startClosing()
		}
	}
}
