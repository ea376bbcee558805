package proxy

import (
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// socketPair returns an accepted client: fd is the proxy's end.
func socketPair(t *testing.T) (fd int, peer *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.SetNonblock(fds[1], true) // for the deadline
	peer = os.NewFile(uintptr(fds[1]), "peer")
	t.Cleanup(func() { peer.Close() })
	if err := peer.SetDeadline(time.Now().Add(testnet.Patience)); err != nil {
		t.Fatal(err)
	}
	return fds[0], peer
}

// echoes sends a byte and waits for its echo.
func echoes(t *testing.T, c testnet.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// twoLoops runs two loops. All clients come to the first one: a unix socket cannot be shared
// (SO_REUSEPORT).
func twoLoops(t *testing.T) func(*Listener, *Options) {
	return func(l *Listener, o *Options) {
		o.Workers = 2
		l.Binds = []listen.Bind{{Path: t.TempDir() + "/s"}}
	}
}

// TestEndAllMeetsArrivals ends everything while clients are on their way to becoming connections:
// they end too.
func TestEndAllMeetsArrivals(t *testing.T) {
	stopped := Outcome{Side: SideProxy, Reason: ReasonStopped}
	insideEngines(t, func(t *testing.T, engine string) {
		t.Run("handed to another loop", func(t *testing.T) {
			b := testnet.Listen(t, "tcp", "")
			in := startInside(t, engine, b, twoLoops(t))
			first, other := in.server.workers[0], in.server.workers[1]
			for range 2 {
				testnet.Dial(t, "unix", in.addr)
				b.Accept(t)
			}
			fd, peer := socketPair(t)
			in.on(first, func() {
				in.server.EndAll(ReasonStopped)
				if in.server.roomier(first) != other {
					t.Error("the next client does not go to the other loop")
				}
				first.arrive(first.sockets[0], arrival{fd: fd, listener: in.listener(), at: first.loop.Now()})
			})
			in.ended(3, SideProxy, ReasonStopped)
			if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
			}
			in.empty(b, 2)
		})
		t.Run("accepted afterwards", func(t *testing.T) {
			b := testnet.Listen(t, "tcp", "")
			in := startInside(t, engine, b, func(*Listener, *Options) {})
			in.server.EndAll(ReasonStopped)
			in.on(in.server.workers[0], func() {}) // that message came before this one
			for range 3 {
				testnet.Dial(t, "tcp", in.addr)
			}
			in.ended(3, SideProxy, ReasonStopped)
			in.empty(b, 0)
		})
		t.Run("denied afterwards", func(t *testing.T) { // it would linger, and a stop would wait for it
			b := testnet.Listen(t, "tcp", "")
			in := startInside(t, engine, b, func(l *Listener, _ *Options) { l.ACL = acl.Build(nil, false) })
			in.server.EndAll(ReasonStopped)
			in.on(in.server.workers[0], func() {})
			for range 3 {
				testnet.Dial(t, "tcp", in.addr)
			}
			in.ended(3, SideProxy, ReasonStopped)
			in.empty(b, 0)
		})
		t.Run("in the queue of a listener that closes", func(t *testing.T) {
			b := testnet.Listen(t, "tcp", "")
			in := startInside(t, engine, b, func(*Listener, *Options) {})
			w := in.server.workers[0]
			entered, leave := make(chan struct{}), make(chan struct{})
			w.loop.Post(func(*worker) {
				close(entered)
				<-leave
				w.endAll(stopped)
				w.stopAccepting()
			})
			<-entered
			for range 3 {
				testnet.Dial(t, "tcp", in.addr)
			}
			close(leave)
			in.ended(3, SideProxy, ReasonStopped)
			in.empty(b, 0)
			testnet.Eventually(t, "the listener is closed", func() bool { return in.server.listening.Load() == 0 })
		})
		t.Run("handed to a loop that has ended", func(t *testing.T) {
			b := testnet.Listen(t, "tcp", "")
			in := startInside(t, engine, b, twoLoops(t))
			other := in.server.workers[1]
			fd, peer := socketPair(t)
			in.on(other, func() {
				other.loop.Quit()
				if !other.loop.Post(arrival{fd: fd, listener: in.listener()}) {
					t.Error("a loop that is about to end takes no messages")
				}
			})
			in.stop()
			if n, err := peer.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
			}
		})
	})
}

// empty checks that no connection is left, and how many connections have reached the backend.
func (in *inside) empty(b *testnet.Backend, dialled int) {
	in.t.Helper()
	if n := in.server.Connections(); n != 0 {
		in.t.Errorf("%d slots are taken when all has ended", n)
	}
	for i, n := range in.server.Loads() {
		if n != 0 {
			in.t.Errorf("loop %d counts %d connections when all has ended", i, n)
		}
	}
	if n := b.Accepted(); n != dialled {
		in.t.Errorf("%d connections to the backend, want %d", n, dialled)
	}
}

// TestLastingAcceptErrorPauses: accept(2) fails until the test repairs it, as if another process
// that shares the listening socket has shut it down. The next attempt waits for its time.
func TestLastingAcceptErrorPauses(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		w := in.server.workers[0]
		var s *listenSocket
		in.on(w, func() { s = w.sockets[0] })
		paused := func() bool { return s.state == listenPaused && !w.loop.Busy(s.slot()) }
		in.eventually(w, "the listener accepts", func() bool { return s.state == listenAccepting })
		if err := unix.Shutdown(s.fd, unix.SHUT_RD); err != nil {
			t.Fatal(err)
		}
		in.eventually(w, "the listener pauses", paused)
		in.pass(2 * acceptRetry)
		in.eventually(w, "the listener has failed again, and pauses", paused)
		if err := unix.Listen(s.fd, listen.Backlog); err != nil {
			t.Fatal(err)
		}
		c := testnet.Dial(t, "tcp", in.addr)
		in.jump(0)
		in.on(w, func() {
			if !paused() {
				t.Error("the listener does not wait for the end of its pause")
			}
		})
		in.pass(2 * acceptRetry)
		echoes(t, c)
	})
}

// TestSlotOnAnotherLoop: all slots are taken, and a client waits on one loop. A slot is freed on
// another loop, which announces it. The clock is stopped, so that no timer looks for the slot.
func TestSlotOnAnotherLoop(t *testing.T) {
	const most = 3
	insideEngines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name  string
			limit func(*Listener, *Options)
		}{
			{"process", func(_ *Listener, o *Options) { o.MaxConnections = most }},
			{"listener", func(l *Listener, _ *Options) { l.Slots = NewSlots(most) }},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				in := startInside(t, engine, b, func(l *Listener, o *Options) {
					twoLoops(t)(l, o)
					test.limit(l, o)
				})
				var last testnet.Conn
				for range most {
					last = testnet.Dial(t, "unix", in.addr)
					echoes(t, last)
				}
				if loads := in.server.Loads(); loads[0] != most-1 || loads[1] != 1 {
					t.Fatalf("connections on the loops: %v; want the last one on the second", loads)
				}
				in.full()
				waits := testnet.Dial(t, "unix", in.addr)
				last.Close()
				echoes(t, waits)
			})
		}
	})
}
