package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

// inside is a server on whose loops a test runs functions of its own: where a defect hangs on the order of two messages
// or on how long nothing has happened, a test brings that about there, and waits for nothing.
type inside struct {
	t      *testing.T
	server *Server
	addr   string // of the first bind
	seams  []*seam
	ran    chan error // what Run returned

	mu      sync.Mutex
	records []Record
}

// A seam is between a loop and its worker. Its functions are called before the worker's, and may be nil.
type seam struct {
	*worker
	complete func(*eventloop.Completion)
	expire   func(index uint32)
}

func (s *seam) Complete(done *eventloop.Completion) {
	if s.complete != nil {
		s.complete(done)
	}
	s.worker.Complete(done)
}

func (s *seam) Expire(index uint32) {
	if s.expire != nil {
		s.expire(index)
	}
	s.worker.Expire(index)
}

func (s *seam) Message(m any) {
	if f, ok := m.(func()); ok {
		f()
		return
	}
	s.worker.Message(m)
}

// insideEngines runs a test with each engine, and holds it to leaving no descriptor behind.
func insideEngines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			if _, _, err := eventloop.Probe(engine); err != nil {
				t.Skip(err)
			}
			testnet.SameFiles(t)
			test(t, engine)
		})
	}
}

// startInside runs a server of one loop and one listener in front of b, unless change says otherwise, until the end of
// the test.
func startInside(t *testing.T, engine string, b *testnet.Backend, change func(*Listener, *Options)) *inside {
	t.Helper()
	backends := []*backend.Backend{{Address: b.Addr, Pool: "back", Weight: 1}}
	picks, err := balancer.New(backends, balancer.Options{Policy: "least_conn"})
	if err != nil {
		t.Fatal(err)
	}
	listener := &Listener{
		Name:  "front",
		Binds: []Bind{{Network: "tcp", Address: "127.0.0.1:0"}},
		Pool: &Pool{
			Name: "back", Balancer: picks, Backends: backends, ConnectTimeout: testnet.Patience, Attempts: 1,
			Addrs: []*rawsys.Sockaddr{rawsys.InetSockaddr(netip.MustParseAddrPort(b.Addr), 0)},
		},
	}
	in := &inside{t: t, ran: make(chan error, 1)}
	options := Options{Engine: engine, Workers: 1, Log: slog.New(slog.DiscardHandler), Finished: in.finished}
	change(listener, &options)
	if in.server, err = Listen(&State{Listeners: []*Listener{listener}}, options); err != nil {
		t.Fatal(err)
	}
	in.addr = in.server.Addrs()[0].Bind.Address
	for _, w := range in.server.workers {
		s := &seam{worker: w}
		loop, err := eventloop.New(engine, s)
		if err != nil {
			t.Fatal(err)
		}
		w.loop.Discard()
		w.loop = loop
		in.seams = append(in.seams, s)
	}
	go func() { in.ran <- in.server.Run(context.Background()) }()
	t.Cleanup(in.stop)
	return in
}

// stop ends the server, which has to leave nothing behind.
func (in *inside) stop() {
	in.t.Helper()
	in.server.Stop()
	select {
	case err := <-in.ran:
		in.ran <- err
		if err != nil {
			in.t.Errorf("Run: %v", err)
		}
	case <-time.After(testnet.Patience):
		in.t.Fatal("Run does not return")
	}
}

func (in *inside) finished(r *Record) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.records = append(in.records, *r)
}

// on runs f on a worker's loop. f must not end the test.
func (in *inside) on(w *worker, f func()) {
	in.t.Helper()
	done := make(chan struct{})
	w.loop.Post(func() { f(); close(done) })
	select {
	case <-done:
	case <-time.After(testnet.Patience):
		in.t.Fatal("the loop takes no messages")
	}
}

// eventually waits for a condition that is asked on a worker's loop.
func (in *inside) eventually(w *worker, what string, cond func() bool) {
	in.t.Helper()
	testnet.Eventually(in.t, what, func() (holds bool) {
		in.on(w, func() { holds = cond() })
		return holds
	})
}

// relaying returns the only connection of a worker that is relaying, once there is one.
func (in *inside) relaying(w *worker) (index uint32, c *conn) {
	in.t.Helper()
	in.eventually(w, "a connection is relaying", func() bool {
		for chunk := range w.conns {
			for i := range w.conns[chunk] {
				if w.conns[chunk][i].state == stateRelaying {
					index, c = uint32(chunk*connChunk+i), &w.conns[chunk][i]
				}
			}
		}
		return c != nil
	})
	return index, c
}

// ended waits for n records and holds each of them to the same outcome.
func (in *inside) ended(n int, want Outcome) {
	in.t.Helper()
	var records []Record
	testnet.Eventually(in.t, "the connections have ended", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		records = in.records
		return len(records) >= n
	})
	if len(records) > n {
		in.t.Errorf("%d connections have ended, not %d", len(records), n)
	}
	for _, r := range records {
		if r.Outcome != want {
			in.t.Errorf("outcome = %v %v, want %v %v", r.Side, r.Reason, want.Side, want.Reason)
		}
	}
}

// flushed has a connection that is ending wait no longer for bytes to arrive at a peer that does not take them.
func (in *inside) flushed(w *worker, c *conn) {
	in.t.Helper()
	in.eventually(w, "the connection is closed", func() bool {
		if c.state == stateFlushing {
			c.flushing = w.loop.Now() - int64(flushMost)
		}
		return c.state == stateFree
	})
}
