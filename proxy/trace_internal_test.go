package proxy

import (
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestEndedTraceFollowsNothing: connections on which nothing happens do not count towards the
// bounds of the traces to come, however theirs ends.
func TestEndedTraceFollowsNothing(t *testing.T) {
	ends := map[string]struct{ begin, end func(s *Server) error }{
		"stopped": {
			func(s *Server) error { return s.Trace(TraceFilter{}, time.Now().Add(time.Hour)) },
			func(s *Server) error { s.StopTraces(nil); return nil },
		},
		"over": {
			func(s *Server) error { return s.Trace(TraceFilter{}, time.Now().Add(200*time.Millisecond)) },
			func(*Server) error { return nil },
		},
		"all": {
			func(s *Server) error { s.TraceAll(true); return nil },
			func(s *Server) error { s.TraceAll(false); return nil },
		},
	}
	insideEngines(t, func(t *testing.T, engine string) {
		for name, test := range ends {
			t.Run(name, func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				in := startInside(t, engine, b, func(_ *Listener, o *Options) { o.Step = func(*Step) {} })
				in.pair("tcp", b)
				w := in.server.workers[0]
				if err := test.begin(in.server); err != nil {
					t.Fatal(err)
				}
				in.eventually(w, "it is followed", func() bool { return len(w.traced) == 1 })
				if err := test.end(in.server); err != nil {
					t.Fatal(err)
				}
				in.eventually(w, "it is not followed any more", func() bool {
					return len(w.traced) == 0 && in.only(w).flags&flagTraced == 0
				})
			})
		}
	})
}
