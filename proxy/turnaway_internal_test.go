package proxy

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
)

// TestStopWhileDenying stops a server while a denied client lingers. The bytes that the client has
// sent were discarded, and do not count.
func TestStopWhileDenying(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		in := startInside(t, engine, b, func(l *Listener, _ *Options) { l.ACL = acl.Build(nil, false) })
		if _, err := io.WriteString(testnet.Dial(t, "tcp", in.addr), "hello?"); err != nil {
			t.Fatal(err)
		}
		w := in.server.workers[0]
		c := in.inState(w, stateTurnedAway)
		in.eventually(w, "the bytes are discarded", func() bool { return c.flow[clientEnd].bytes > 0 })
		in.stop()
		in.ended(1, SideProxy, ReasonStopped)
		if n := in.records[0].BytesIn; n != 0 {
			t.Errorf("bytes in = %d, want 0", n)
		}
	})
}

// TestTurnedAwayCounts turns clients away while another goroutine counts connections, as a drain
// does. A client that gives its slot back is counted all the time.
func TestTurnedAwayCounts(t *testing.T) {
	const rounds = 3000
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		w, l := in.server.workers[0], in.listener()
		var round atomic.Int64 // odd while there is a client
		var missed, over atomic.Bool
		var poller sync.WaitGroup
		poller.Go(func() {
			for !over.Load() {
				before := round.Load()
				n := in.server.Connections()
				if before%2 == 1 && n == 0 && round.Load() == before {
					missed.Store(true)
				}
			}
		})
		for range rounds {
			fd, peer := socketPair(t)
			in.on(w, func() {
				in.server.slots.take(l.Slots)
				w.load.Add(1)
				round.Add(1)
				c := w.newConn(arrival{fd: fd, listener: l})
				c.flags |= flagSlot
				w.turnAway(c, nil, Outcome{Side: SideProxy, Reason: ReasonNoBackend})
				round.Add(1)
				w.end(c, c.outcome)
			})
			peer.Close()
			for in.server.Connections() > 0 {
				in.on(w, func() {})
			}
		}
		over.Store(true)
		poller.Wait()
		if missed.Load() {
			t.Error("no connection is counted while a client is turned away")
		}
	})
}
