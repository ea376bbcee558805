package proxy

import (
	"context"
	"io"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestCutOffOfABusyConnection: when an operator or a deadline ends a connection on which bytes
// moved a moment ago, or whose client waits for an answer, neither peer may take that for the end
// of the stream, even if nothing is on its way. A quiet connection ends with a FIN.
func TestCutOffOfABusyConnection(t *testing.T) {
	ends := map[string]func(in *inside) Reason{
		"kill": func(in *inside) Reason {
			if r, err := in.server.Kill(context.Background(), Kill{}); err != nil || r.Killed != 1 {
				in.t.Errorf("%+v, %v", r, err)
			}
			return ReasonKilled
		},
		"timeout of a drain": func(in *inside) Reason {
			in.server.EndGently(GentleEnd{Listener: "front", Spread: time.Hour, Timeout: 1})
			in.pass(2 * gentleEvery)
			return ReasonDrainTimeout
		},
		"end of the process": func(in *inside) Reason {
			w := in.server.workers[0]
			in.on(w, func() { w.endAll(Outcome{Side: SideProxy, Reason: ReasonStopped}) })
			return ReasonStopped
		},
	}
	before := map[string]struct {
		busy bool
		do   func(in *inside, client, server testnet.Conn)
	}{
		"an answer just now": {true, func(in *inside, client, server testnet.Conn) {
			in.say(client, server)
			in.say(server, client)
		}},
		"no answer": {true, func(in *inside, client, server testnet.Conn) {
			in.say(client, server)
			in.pass(time.Minute)
		}},
		"quiet": {false, func(in *inside, client, server testnet.Conn) {
			in.say(client, server)
			in.say(server, client)
			in.pass(quietFor)
		}},
	}
	insideEngines(t, func(t *testing.T, engine string) {
		for how, end := range ends {
			for name, was := range before {
				t.Run(how+"/"+name, func(t *testing.T) {
					b := testnet.Listen(t, "tcp", "")
					in := startInside(t, engine, b, func(*Listener, *Options) {})
					client, server := in.pair("tcp", b)
					was.do(in, client, server)
					reason := end(in)
					in.ended(1, SideProxy, reason)
					for peer, c := range map[string]testnet.Conn{"client": client, "backend": server} {
						_, err := c.Read(make([]byte, 1))
						if testnet.IsReset(err) != was.busy || !was.busy && err != io.EOF {
							t.Errorf("the %s reads %v, want a reset: %v", peer, err, was.busy)
						}
					}
				})
			}
		}
	})
}
