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
// from now on, because its former pool may have closed it. So does one that is removed, in case it
// comes back.
func (f *followers) replace(next map[string]*Watch, plane DataPlane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, w := range f.watches {
		if w != next[name] && plane != nil {
			plane.SetListening(&proxy.Listener{Name: name}, true)
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
