package control

import (
	"sync"

	"l4proxy/proxy"
)

// followers knows which Watch closes and reopens which listener. A Watch may still work from an
// older plan: what it wants of a listener that no longer follows its pool is ignored. Otherwise it
// could close the listener for good.
type followers struct {
	mu      sync.Mutex
	watches map[string]*Watch // by listener
}

// replace puts other followers into effect. A listener that follows another pool, or none, listens
// from now on, because its former pool may have closed it.
func (f *followers) replace(next map[string]*Watch, listeners []*proxy.Listener, plane DataPlane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range listeners {
		if w := f.watches[l.Name]; w != nil && w != next[l.Name] && plane != nil {
			plane.SetListening(l, true)
		}
	}
	f.watches = next
}

// setListening does for w what [DataPlane.SetListening] does, and reports whether l follows its
// pool.
func (f *followers) setListening(w *Watch, l *proxy.Listener, on bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches[l.Name] != w {
		return false
	}
	w.plane.SetListening(l, on)
	return true
}
