package proxy

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// age is the lifetime in these tests: none of the proxy's own periods is a multiple of it.
const age = 10 * time.Second

// startAged runs a server whose listener, on a TCP or a unix socket, sets a lifetime.
func startAged(t *testing.T, engine, network string, b *testnet.Backend) *inside {
	t.Helper()
	return startInside(t, engine, b, func(l *Listener, _ *Options) {
		l.Lifetime = age
		if network == "unix" {
			l.Binds = []listen.Bind{{Path: t.TempDir() + "/s"}}
		}
	})
}

// pair connects a client through the proxy and returns both ends of the connection.
func (in *inside) pair(network string, b *testnet.Backend) (client, server testnet.Conn) {
	in.t.Helper()
	client = testnet.Dial(in.t, network, in.addr)
	server = b.Accept(in.t)
	in.relaying(in.server.workers[0])
	return client, server
}

// say passes a byte on, and returns when the proxy has nothing left to send.
func (in *inside) say(from, to testnet.Conn) {
	in.t.Helper()
	if _, err := io.WriteString(from, "x"); err != nil {
		in.t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
		in.t.Fatal(err)
	}
	w := in.server.workers[0]
	in.eventually(w, "the byte has been passed on", func() bool {
		sent := false
		w.connections(func(c *conn) { sent = !w.busyWriting(c) && !w.unsent(c) })
		return sent
	})
}

func (w *worker) busyWriting(c *conn) bool {
	return w.loop.Writing(c.slot(clientEnd)) != 0 || w.loop.Writing(c.slot(backendEnd)) != 0
}

// open fails the test unless there are n connections.
func (in *inside) open(n int, when string) {
	in.t.Helper()
	if got := in.server.Connections(); got != n {
		in.t.Fatalf("%s: %d connections, want %d", when, got, n)
	}
}

// endsWithFIN checks that a peer reads the end of the stream, not a reset.
func endsWithFIN(t *testing.T, c testnet.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %v, want EOF", err)
	}
}

func onBothNetworks(t *testing.T, test func(t *testing.T, engine, network string)) {
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) { test(t, engine, network) })
		}
	})
}

func TestLifetimeEndsAQuietConnection(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, engine, network string) {
		b := testnet.Listen(t, "tcp", "")
		in := startAged(t, engine, network, b)
		client, server := in.pair(network, b)
		in.pass(age / 2)
		in.say(client, server)
		in.say(server, client)
		in.pass(age*4/10 - clockStep)
		in.open(1, "before the lifetime, less a tenth, is over")
		in.pass(age/10 + 3*clockStep)
		in.ended(1, SideProxy, ReasonLifetime)
		endsWithFIN(t, client)
		endsWithFIN(t, server)
	})
}

// TestLifetimeWaitsForTheAnswer: a request is in progress when the lifetime is over.
func TestLifetimeWaitsForTheAnswer(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, engine, network string) {
		b := testnet.Listen(t, "tcp", "")
		in := startAged(t, engine, network, b)
		client, server := in.pair(network, b)
		in.say(client, server)
		in.pass(age * 3 / 2)
		in.open(1, "while the client waits for an answer")
		in.say(server, client)
		in.pass(quietFor / 2)
		in.open(1, "right after the answer")
		in.pass(2 * quietFor)
		in.ended(1, SideProxy, ReasonLifetime)
		endsWithFIN(t, client)
		endsWithFIN(t, server)
	})
}

// TestLifetimeGraceIsBounded: the connection does not become quiet.
func TestLifetimeGraceIsBounded(t *testing.T) {
	onBothNetworks(t, func(t *testing.T, engine, network string) {
		for name, keepBusy := range map[string]func(in *inside, client, server testnet.Conn){
			"no_answer": func(in *inside, client, server testnet.Conn) { in.say(client, server) },
			"half_closed": func(in *inside, client, _ testnet.Conn) {
				if err := client.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				w := in.server.workers[0]
				in.eventually(w, "it is half-closed", func() bool {
					return in.only(w).flags&flagHalfClosed != 0
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				in := startAged(t, engine, network, b)
				client, server := in.pair(network, b)
				keepBusy(in, client, server)
				in.pass(2*age - age/10 - clockStep)
				in.open(1, "before the grace is over")
				in.pass(age/10 + 3*clockStep)
				in.ended(1, SideProxy, ReasonLifetime)
				if _, err := server.Read(make([]byte, 1)); name == "no_answer" && !testnet.IsReset(err) {
					t.Errorf("the backend reads %v, want a reset", err)
				}
			})
		}
	})
}

// only returns the only connection of a worker. It has to run on the loop.
func (in *inside) only(w *worker) (found *conn) {
	w.connections(func(c *conn) { found = c })
	return found
}

// TestLifetimeAfterALongWait: a client is connected only after its lifetime. It is still served.
func TestLifetimeAfterALongWait(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		in := startAged(t, engine, "tcp", b)
		w := in.server.workers[0]
		fd, raw := socketPair(t)
		defer raw.Close()
		if _, err := raw.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		in.on(w, func() {
			w.arrive(w.sockets[0], arrival{fd: fd, listener: in.listener(), at: w.loop.Now() - int64(time.Hour)})
		})
		server := b.Accept(t)
		in.relaying(w)
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		in.pass(age / 2)
		in.open(1, "while the client waits for an answer")
		if _, err := io.WriteString(server, "y"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(raw, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		in.pass(3 * quietFor)
		in.ended(1, SideProxy, ReasonLifetime)
	})
}

// TestLifetimeJitter: clients of one batch have different ends, within a tenth of the lifetime, and
// another process computes the same ones.
func TestLifetimeJitter(t *testing.T) {
	const lifetime, n = int64(time.Hour), 1000
	l := &Listener{Lifetime: time.Duration(lifetime)}
	ends := make(map[int64]bool)
	sum := int64(0)
	for i := range n {
		peer := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1024+i))
		c := &conn{listener: l, client: peer, accepted: 1e9, index: uint32(i)}
		soft, hard := c.lifeEnds()
		if soft-c.accepted > lifetime || soft-c.accepted < lifetime-lifetime/lifetimeJitter {
			t.Fatalf("ends at the age of %v", time.Duration(soft-c.accepted))
		}
		if hard-soft != int64(lifetimeGrace) {
			t.Fatalf("grace of %v", time.Duration(hard-soft))
		}
		if moved, _ := (&conn{listener: l, client: peer, accepted: 1e9, index: 7}).lifeEnds(); moved != soft {
			t.Fatal("it ends at another time after a hand-over")
		}
		ends[soft] = true
		sum += c.accepted + lifetime - soft
	}
	if len(ends) < n*99/100 {
		t.Errorf("%d clients end at %d times", n, len(ends))
	}
	if mean := sum / n; mean < lifetime/lifetimeJitter*4/10 || mean > lifetime/lifetimeJitter*6/10 {
		t.Errorf("they end %v early on average", time.Duration(mean))
	}
}
