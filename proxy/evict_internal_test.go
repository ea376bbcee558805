package proxy

import (
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestEvictionMeetsADial ends a backend's connections while one of them is being dialled: it does
// not stay on a backend that is down.
func TestEvictionMeetsADial(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		for name, over := range map[string]time.Duration{"at_once": 0, "spread": 200 * time.Millisecond} {
			t.Run(name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				in := startInside(t, engine, b, func(*Listener, *Options) {})
				w, l := in.server.workers[0], in.listener()
				fd, _ := socketPair(t)
				in.on(w, func() {
					w.arrive(w.sockets[0], arrival{fd: fd, listener: l, at: w.loop.Now()})
					w.evict(Evict{Backend: l.Pool.Balancer.Members()[0].Backend, Reason: ReasonBackendDown, Over: over})
				})
				testnet.Eventually(t, "the connection has ended", func() bool {
					in.jump(clockStep)
					return in.server.Connections() == 0
				})
			})
		}
	})
}
