package proxy

import (
	"io"
	"testing"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
)

// TestStopWhileDenying stops a server while a denied client lingers. The bytes that the client has sent were discarded, and
// do not count.
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
