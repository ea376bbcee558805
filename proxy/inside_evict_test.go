package proxy

import (
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestEvictionMeetsADial has a backend's connections ended while one of them is being dialled: it is not left behind on
// a backend that is down.
func TestEvictionMeetsADial(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		for name, over := range map[string]time.Duration{"at_once": 0, "spread": 200 * time.Millisecond} {
			t.Run(name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				in := startInside(t, engine, b, func(*Listener, *Options) {})
				w, l := in.server.workers[0], in.server.state.Listeners[0]
				fd, _ := socketPair(t)
				in.on(w, func() {
					if !w.takePlace(l) {
						t.Error("no place")
					}
					w.place(arrival{fd: fd, listener: l, at: w.loop.Now()})
					w.startEviction(Evict{Backend: l.Pool.Backends[0], Reason: ReasonBackendDown, Over: over})
				})
				began := time.Now()
				if !testnet.Within(5*time.Second, func() bool { return in.server.Connections() == 0 }) {
					t.Errorf("the connection is still there after %v", time.Since(began))
				}
			})
		}
	})
}
