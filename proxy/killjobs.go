package proxy

import "sync"

// kills are the kills under way. The zero value is ready for use.
type kills struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   sync.Cond
}

// start counts a kill that begins, and has to call end.
func (k *kills) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return errStopped
	case k.n >= killsMost:
		return ErrKillsBusy
	}
	k.n++
	return nil
}

func (k *kills) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n--
	if k.idle.L != nil {
		k.idle.Broadcast()
	}
}

// wait waits for the kills under way, which end when the server stops, and starts no more.
func (k *kills) wait() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed, k.idle.L = true, &k.mu
	for k.n > 0 {
		k.idle.Wait()
	}
}
