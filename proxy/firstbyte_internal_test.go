package proxy

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/testnet"
)

// TestSilent: which clients have waited too long for a first byte, and which have not.
func TestSilent(t *testing.T) {
	const now, limit = int64(time.Hour), int64(time.Second)
	for name, tt := range map[string]struct {
		change func(*conn)
		want   bool
	}{
		"asked":                     {func(*conn) {}, true},
		"a moment before":           {func(c *conn) { c.lastActive++ }, false},
		"nothing asked":             {func(c *conn) { c.flow[clientEnd].bytes = 0 }, false},
		"still sending":             {func(c *conn) { c.lastActive = now - limit/2 }, false},
		"closed its side and waits": {func(c *conn) { c.flow[clientEnd].ended, c.flags = flowFIN, flagHalfClosed }, true},
		"backend has ended":         {func(c *conn) { c.flow[backendEnd].ended = flowFIN }, false},
		"not asked for":             {func(c *conn) { c.pool.FirstByte = 0 }, false},
	} {
		c := &conn{pool: &Pool{FirstByte: time.Duration(limit)}, lastActive: now - limit}
		c.flow[clientEnd].bytes = 1
		tt.change(c)
		if got := c.silent(now - c.lastActive); got != tt.want {
			t.Errorf("%s: silent = %v", name, got)
		}
	}
}

// TestLookEvery: an eighth of the shortest time that any pool allows, within bounds.
func TestLookEvery(t *testing.T) {
	for _, tt := range []struct {
		pools []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{0, 0}, 0},
		{[]time.Duration{0, 2 * time.Second, 800 * time.Millisecond}, 100 * time.Millisecond},
		{[]time.Duration{time.Millisecond}, minLookEvery},
		{[]time.Duration{time.Hour}, maxLookEvery},
	} {
		s := &State{}
		for _, d := range tt.pools {
			s.Listeners = append(s.Listeners, &Listener{Pool: &Pool{FirstByte: d}})
		}
		if got := s.lookEvery(); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.pools, got, tt.want)
		}
	}
}

// firstByte is how long the backends of these tests have. There are eight looks in that time.
const firstByte = 8 * clockStep

// startSilent runs a server in front of a backend that answers a client only if it sends an "e",
// and that is ejected after a number of failures. With most connections it is full: then no other
// client is sent there to try it before it is ejected.
func startSilent(t *testing.T, engine string, failures int, most int32) (in *inside, b *backend.Backend) {
	t.Helper()
	answering := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
		p := make([]byte, 1)
		for _, err := c.Read(p); err == nil; _, err = c.Read(p) {
			if p[0] == 'e' {
				_, _ = c.Write(p)
			}
		}
	})
	in = startInside(t, engine, answering, func(l *Listener, _ *Options) {
		l.Pool.FirstByte = firstByte
		l.Pool.limited(t, most, balancer.Options{
			Policy:  "least_conn",
			Outlier: &balancer.Outlier{Failures: failures, Eject: time.Hour, MaxEjected: 100},
		})
	})
	return in, in.listener().Pool.Balancer.Members()[0].Backend
}

// client connects a client from an address of its own and sends something from it; "" is nothing.
// It returns when the backend has received all of it.
func (in *inside) client(number int, sends string) testnet.Conn {
	in.t.Helper()
	w := in.server.workers[0]
	c := testnet.DialFrom(in.t, fmt.Sprintf("127.0.0.%d", 1+number), in.addr)
	if _, err := io.WriteString(c, sends); err != nil {
		in.t.Fatal(err)
	}
	from := netip.MustParseAddrPort(c.LocalAddr().String())
	in.eventually(w, "the backend has what the client has sent", func() (has bool) {
		w.connections(func(c *conn) {
			has = has || c.client == from && c.state == stateRelaying && c.flow[clientEnd].bytes == uint64(len(sends))
		})
		return has
	})
	return c
}

// TestLooksCountOnce looks repeatedly at a client that sends nothing, and at clients that wait.
func TestLooksCountOnce(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 2, 3)
		in.client(1, "")
		in.pass(2 * firstByte)
		if b.Suspect() {
			t.Error("a client that sends nothing counts as one that waits")
		}
		in.client(2, "s")
		in.pass(2 * firstByte)
		if !b.Suspect() || b.Ejected() {
			t.Error("one client that waits is not one failure")
		}
		in.client(3, "s")
		in.pass(2 * firstByte)
		if !b.Ejected() {
			t.Error("not ejected after two failures")
		}
	})
}

// TestSilentClientsOfBusyBackend: 20 clients wait and then give up. If the backend answers another
// one meanwhile, it is not blamed for any of them. If it has answered only before they asked, it is
// blamed.
func TestSilentClientsOfBusyBackend(t *testing.T) {
	const many = 20
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 2, many+1)
		served := in.client(many, "e")
		wait := func() (clients []testnet.Conn) {
			for i := range many {
				clients = append(clients, in.client(i, "s"))
			}
			return clients
		}
		giveUp := func(clients []testnet.Conn) {
			for _, c := range clients {
				if err := testnet.Reset(c); err != nil {
					t.Fatal(err)
				}
			}
			testnet.Eventually(t, "they have left", func() bool { return in.server.Connections() == 1 })
		}
		clients := wait()
		in.pass(firstByte / 2)
		if _, err := io.WriteString(served, "e"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(served, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		in.pass(max(2*firstByte, promptly+clockStep))
		giveUp(clients)
		if b.Suspect() || b.Ejected() {
			t.Error("a backend that answers is blamed for clients that wait")
		}
		wait()
		in.pass(2 * firstByte)
		if !b.Ejected() {
			t.Error("not ejected for clients that asked after its last answer")
		}
	})
}

// TestOneClientWaitsOften: 20 waiting connections of one client are one failure per look.
func TestOneClientWaitsOften(t *testing.T) {
	const many = 20
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 2, many)
		for range many {
			in.client(1, "s")
		}
		for range 2 * firstByte / clockStep {
			if in.pass(clockStep); b.Suspect() {
				break
			}
		}
		if !b.Suspect() || b.Ejected() {
			t.Errorf("%d connections of one client are not one failure", many)
		}
	})
}

// TestLateLook: a look comes far too late, as on a machine that was paused. The time before it does
// not count against a backend, and the time after it does.
func TestLateLook(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 1, 1)
		in.client(1, "s")
		in.jump(time.Minute)
		in.pass(firstByte)
		if b.Suspect() || b.Ejected() {
			t.Error("a backend is blamed for a time in which the proxy was paused")
		}
		in.pass(2 * firstByte)
		if !b.Ejected() {
			t.Error("a backend is not blamed for the time after it")
		}
	})
}

// TestBlamedOnce: two clients wait, one after the other, and give up. Each is reported to the
// balancer once: the first while it waits, the second when it leaves.
func TestBlamedOnce(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, b := startSilent(t, engine, 2, 1)
		giveUp := func(c testnet.Conn) {
			if err := testnet.Reset(c); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, "it has left", func() bool { return in.server.Connections() == 0 })
		}
		c := in.client(1, "s")
		in.pass(max(2*firstByte, promptly+clockStep))
		giveUp(c)
		if !b.Suspect() || b.Ejected() {
			t.Error("one failure of two is not what is counted")
		}
		in.on(in.server.workers[0], func() { in.listener().Pool.FirstByte = 2 * promptly })
		c = in.client(2, "s")
		in.pass(promptly + clockStep)
		giveUp(c)
		if !b.Ejected() {
			t.Error("not ejected after two failures")
		}
	})
}

// BenchmarkFirstByteLook looks over 10,000 connections that have all had their first byte.
func BenchmarkFirstByteLook(b *testing.B) {
	const many = 10_000
	w := new(worker)
	for range many {
		c := w.conn(w.takeIndex())
		c.state, c.flags = stateRelaying, flagAnswered
	}
	for b.Loop() {
		w.blameSilent(0, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/connection")
}
