package proxy

import (
	"context"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
)

// A loop that hangs is found and named, is asked once, however often that happens, and is alive
// again when it no longer hangs.
func TestAliveNamesSilentLoops(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo)
		in := startInside(t, engine, b, func(_ *Listener, o *Options) { o.Workers = 2 })
		if err := in.server.Alive(t.Context()); err != nil {
			t.Fatal(err)
		}
		hangs, resume := make(chan struct{}), make(chan struct{})
		in.server.workers[1].loop.Post(func(*worker) { close(hangs); <-resume })
		<-hangs
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		var asked <-chan struct{}
		for range 1000 {
			err := in.server.Alive(ended)
			if err == nil || !strings.Contains(err.Error(), "event loop 1 does not answer") {
				t.Fatalf("error %v, want one about event loop 1", err)
			}
			now, ok := in.server.workers[1].pulse.ask(in.server.workers[1])
			if asked == nil {
				asked = now
			}
			if !ok || now != asked {
				t.Fatal("the loop was asked more than once")
			}
		}
		close(resume)
		if err := in.server.Alive(t.Context()); err != nil {
			t.Error(err)
		}
		in.stop()
		if err := in.server.Alive(t.Context()); err == nil || !strings.Contains(err.Error(), "event loop 0 has ended") {
			t.Errorf("error %v after the end", err)
		}
	})
}
