package proxy_test

import (
	"io"
	"testing"
	"time"

	"l4proxy/balancer"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// queueing gives each backend room for most connections, and the pool a queue.
func queueing(most int32, size int, timeout time.Duration) func(*setup) {
	return func(s *setup) {
		s.balance = func(o *balancer.Options) { o.Queue = size }
		s.pooled = func(p *proxy.Pool) {
			p.QueueTimeout = timeout
			for _, b := range p.Backends {
				b.MaxConnections = most
			}
		}
	}
}

func (r *running) waiting(n int) {
	r.t.Helper()
	testnet.Eventually(r.t, "clients wait", func() bool { return r.pool.Balancer.Stats().Waiting == n })
}

// TestQueue has clients wait for a place on a full backend, and get it in the order in which they came.
func TestQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		served := r.dial()
		peer := b.Accept(t)
		var waiting []testnet.Conn
		for i := range 5 {
			c := r.dial()
			if _, err := c.Write([]byte{byte('0' + i)}); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
			r.waiting(i + 1)
		}
		served.Close()
		peer.Close()
		for i, c := range waiting {
			peer := b.Accept(t)
			got := make([]byte, 1)
			if _, err := io.ReadFull(peer, got); err != nil || got[0] != byte('0'+i) {
				t.Errorf("turn %d is that of client %q, %v", i, got, err)
			}
			if n := r.pool.Backends[0].Active(); n > 1 {
				t.Errorf("%d connections on a backend that takes one", n)
			}
			c.Close()
			peer.Close()
		}
		for _, record := range r.ended(6) {
			if record.Reason != proxy.ReasonClosed {
				t.Errorf("ended with %v", record.Reason)
			}
		}
	})
}

// TestQueueBounds has more clients than the queue takes, and one who waits for too long.
func TestQueueBounds(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 1, 300*time.Millisecond))
		r.dial()
		b.Accept(t)
		slow := r.dial()
		r.waiting(1)
		tooMany := r.dial()
		for name, c := range map[string]testnet.Conn{"one too many": tooMany, "the one who waited": slow} {
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%s reads %d bytes, %v", name, n, err)
			}
		}
		records := r.ended(2)
		r.expect(records[0], proxy.SideProxy, proxy.ReasonQueueFull, 0, 0)
		r.expect(records[1], proxy.SideProxy, proxy.ReasonQueueTimeout, 0, 0)
		if d := records[1].Duration; d < 300*time.Millisecond {
			t.Errorf("waited only %v", d)
		}
		r.waiting(0)
	})
}

// TestQueueLeft stops the proxy while clients wait.
func TestQueueLeft(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience))
		r.dial()
		b.Accept(t)
		for range 3 {
			r.dial()
		}
		r.waiting(3)
		r.cancel()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		for _, record := range r.ended(4) {
			r.expect(record, proxy.SideProxy, proxy.ReasonStopped, 0, 0)
		}
		if n := r.pool.Balancer.Stats().Waiting; n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// TestQueueForAnybody has all backends refuse: the client waits until one is back, and what it has said is not lost.
func TestQueueForAnybody(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		stopped := testnet.Listen(t, "tcp", "")
		address := stopped.Addr
		stopped.Close()
		r := start(t, engine, []string{address, testnet.Refusing(t)}, queueing(0, 10, testnet.Patience), func(s *setup) {
			s.listener.NoBackend = proxy.QueueClient
		})
		c := r.dial()
		if _, err := io.WriteString(c, "patience"); err != nil {
			t.Fatal(err)
		}
		r.waiting(1)
		b := testnet.Serve(t, "tcp", address, testnet.Echo)
		// A second after it was left aside, the client that waits is the probe.
		testnet.Eventually(t, "its turn comes", func() bool {
			r.pool.Balancer.Tick(proxy.Clock())
			return b.Accepted() > 0
		})
		got := make([]byte, 8)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "patience" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// TestFullWithoutQueue has all be full and nobody wait.
func TestFullWithoutQueue(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 0, 0))
		r.dial()
		b.Accept(t)
		c := r.dial()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read %d bytes, %v", n, err)
		}
		r.endedOne(proxy.SideProxy, proxy.ReasonNoBackend, 0, 0)
	})
}
