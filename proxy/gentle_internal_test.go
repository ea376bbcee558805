package proxy

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// startQuiet runs a server with n connections on which nothing happens, on a TCP or a unix socket.
func startQuiet(t *testing.T, engine, network string, n int) (in *inside, b *testnet.Backend, clients []testnet.Conn) {
	t.Helper()
	b = testnet.Listen(t, "tcp", "")
	in = startInside(t, engine, b, func(l *Listener, _ *Options) {
		if network == "unix" {
			l.Binds = []listen.Bind{{Path: t.TempDir() + "/s"}}
		}
	})
	for range n {
		clients = append(clients, testnet.Dial(t, network, in.addr))
		b.Accept(t)
	}
	in.settled(n)
	return in, b, clients
}

// settled waits until n connections are relaying.
func (in *inside) settled(n int) {
	in.t.Helper()
	w := in.server.workers[0]
	in.eventually(w, "all connections are relaying", func() bool {
		relaying := 0
		w.connections(func(c *conn) {
			if c.state == stateRelaying {
				relaying++
			}
		})
		return relaying == n
	})
}

// noTasks checks that a worker has no task left but its listening sockets.
func (in *inside) noTasks() {
	in.t.Helper()
	w := in.server.workers[0]
	in.eventually(w, "the task has ended", func() bool { return len(w.tasks) == len(w.sockets) })
}

func (in *inside) reasons() map[Reason]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := make(map[Reason]int)
	for _, r := range in.records {
		n[r.Reason]++
	}
	return n
}

// TestGentleEndSpreads ends quiet connections one after another over the period.
func TestGentleEndSpreads(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, engine, network string) {
		const n, spread = 40, 10 * time.Second
		in, _, clients := startQuiet(t, engine, network, n)
		in.pass(quietFor)
		w := in.server.workers[0]
		later := 0 // have their turn in the second half of the period
		in.on(w, func() {
			w.connections(func(c *conn) {
				if part(spread, c.chance()) > int64(spread/2) {
					later++
				}
			})
		})
		in.server.EndGently(GentleEnd{Listener: "front", Spread: spread, Timeout: time.Minute})
		in.pass(spread / 2)
		left := func() int { return in.server.Connections() }
		if n := left(); n < later {
			t.Errorf("after half of the period, %d are left, but %d have their turn later", n, later)
		}
		in.pass(2 * gentleEvery)
		in.eventually(w, "those whose turn was in the first half have ended", func() bool { return left() <= later })
		in.pass(spread/2 + 2*gentleEvery)
		in.ended(n, SideProxy, ReasonDrained)
		for _, c := range clients {
			endsWithFIN(t, c)
		}
		in.pass(time.Minute - spread)
		in.noTasks()
	})
}

// TestGentleEndWaits: a client that waits for an answer is not ended before that has come, or the
// timeout is over.
func TestGentleEndWaits(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, b, _ := startQuiet(t, engine, "tcp", 0)
		answered, answers := in.pair("tcp", b)
		waits, silent := testnet.Dial(t, "tcp", in.addr), b.Accept(t)
		in.settled(2)
		in.say(answered, answers)
		in.say(waits, silent)
		in.server.EndGently(GentleEnd{Backend: in.listener().Pool.Balancer.Members()[0].Backend, Spread: time.Millisecond, Timeout: 10 * time.Second})
		in.pass(time.Second)
		in.open(2, "while both clients wait")
		in.say(answers, answered)
		in.pass(2*quietFor + gentleEvery)
		in.ended(1, SideProxy, ReasonDrained)
		endsWithFIN(t, answered)
		in.pass(10 * time.Second)
		testnet.Eventually(t, "the other one has ended", func() bool { return in.reasons()[ReasonDrainTimeout] == 1 })
		in.noTasks()
	})
}

// TestGentleEndSpares: connections of another listener or backend, and those that are left when it
// is cancelled.
func TestGentleEndSpares(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, _, clients := startQuiet(t, engine, "tcp", 3)
		in.pass(quietFor)
		var cancelled atomic.Bool
		in.server.EndGently(GentleEnd{Listener: "other", Timeout: time.Second})
		in.server.EndGently(GentleEnd{
			Listener: "front", Spread: time.Hour, Timeout: time.Hour, Cancelled: cancelled.Load,
		})
		in.pass(time.Second + 2*gentleEvery)
		cancelled.Store(true)
		in.pass(2 * gentleEvery)
		in.open(3, "after it was cancelled")
		in.noTasks()
		for _, c := range clients {
			c.Close()
		}
	})
}

// TestGentleEndParked: the timeout also ends clients that wait for a slot.
func TestGentleEndParked(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		in, _, _ := startQuiet(t, engine, "tcp", 1)
		w := in.server.workers[0]
		fd, _ := socketPair(t)
		in.on(w, func() {
			w.sockets[0].park(arrival{fd: fd, listener: in.listener(), at: w.loop.Now()})
			w.endGently(GentleEnd{Listener: "front", Timeout: time.Second})
		})
		in.pass(time.Second + gentleEvery)
		in.pass(quietFor)
		testnet.Eventually(t, "both have ended", func() bool {
			n := in.reasons()
			return n[ReasonDrained]+n[ReasonDrainTimeout] == 2
		})
		in.noTasks()
	})
}

// TestLeft describes what is open.
func TestLeft(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, engine, network string) {
		in, b, clients := startQuiet(t, engine, network, 1)
		for n := range 4 {
			in.settled(1 + n)
			in.pass(time.Second)
			clients = append(clients, testnet.Dial(t, network, in.addr))
			b.Accept(t)
		}
		in.settled(5)
		left := in.server.Left(3)
		if left.Connections != 5 || len(left.Listeners) != 1 || left.Listeners[0] != (LeftListener{"front", 5}) ||
			len(left.Backends) != 1 || left.Backends[0] != (LeftBackend{"back", b.Addr, 5}) {
			t.Errorf("left: %+v", left)
		}
		if len(left.Oldest) != 3 {
			t.Fatalf("%d oldest, want 3", len(left.Oldest))
		}
		for i, c := range left.Oldest {
			want := LeftConn{Listener: "front", Client: "unix", Pool: "back", Backend: b.Addr, Age: float64(4 - i), Idle: float64(4 - i)}
			if network == "tcp" {
				want.Client = clients[i].LocalAddr().String()
			}
			if c != want {
				t.Errorf("%+v, want %+v", c, want)
			}
		}
		in.stop()
		if left := in.server.Left(3); len(left.Oldest) != 0 {
			t.Errorf("after the end: %+v", left)
		}
	})
}

// TestDrainedSocketNeverAccepts: a socket that a listener gets while it is drained is shut before
// its first accept.
func TestDrainedSocketNeverAccepts(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		w := in.server.workers[0]
		in.on(w, func() {
			s := w.sockets[0]
			w.setShut("front", shutDrain, true)
			s.state = listenNew // as after addSocket
			w.startAccepting()
		})
		in.eventually(w, "it is shut", func() bool { return w.sockets[0].state == listenShut })
		in.on(w, func() { w.setShut("front", shutDrain, false) })
		testnet.Dial(t, "tcp", in.addr).Close()
		in.ended(1, SideClient, ReasonClosed)
	})
}

// TestShutWithoutDescriptors: accept(2) finds no descriptor for clients in the queue. A drained
// listener waits for one. If no backend can serve them either, it does not.
func TestShutWithoutDescriptors(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		w := in.server.workers[0]
		in.filterAccepts(w, unix.SECCOMP_RET_ERRNO|uint32(unix.EMFILE), 0)
		in.on(w, func() { w.setShut("front", shutDrain, true) })
		in.eventually(w, "no accept is in flight", func() bool { return !w.loop.Busy(w.sockets[0].slot()) })
		in.pass(3 * acceptRetry)
		in.on(w, func() {
			if state := w.sockets[0].state; state != listenShutting {
				t.Errorf("the socket is in state %d", state)
			}
			w.setShut("front", shutUnlisten, true)
		})
		in.pass(3 * acceptRetry)
		in.eventually(w, "it is shut", func() bool { return w.sockets[0].state == listenShut })
	})
}

// TestReopenWithoutDescriptors: a drained listener still waits for descriptors when it is opened
// again. The kernel takes new clients at once.
func TestReopenWithoutDescriptors(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		w := in.server.workers[0]
		in.filterAccepts(w, unix.SECCOMP_RET_ERRNO|uint32(unix.EMFILE), 0)
		in.on(w, func() { w.setShut("front", shutDrain, true) })
		in.eventually(w, "no accept is in flight", func() bool { return !w.loop.Busy(w.sockets[0].slot()) })
		in.on(w, func() { w.setShut("front", shutDrain, false) })
		testnet.Dial(t, "tcp", in.addr)
	})
}
