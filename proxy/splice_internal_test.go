package proxy

import (
	"io"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

// TestSlowReaderAtTheEndOfSplicing: a flow returns from a pipe to buffers with a read that its
// reader does not take completely. The loop must not wait for that reader. It would keep its
// processor while it waits, and block the whole process at the next garbage collection.
func TestSlowReaderAtTheEndOfSplicing(t *testing.T) {
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1)) // so that the test can report a failure
		b := testnet.Listen(t, "tcp", "")
		in := startInside(t, engine, b, func(*Listener, *Options) {})
		c := testnet.Dial(t, "tcp", in.addr)
		_ = c.SetReadBuffer(4 << 10)
		peer := b.Accept(t)
		w := in.server.workers[0]
		conn := in.relaying(w)
		in.on(w, func() {
			_ = unix.SetsockoptInt(w.loop.FD(conn.slot(clientEnd)), unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10)
		})
		splice := func() {
			for bulk, got, spliced := make([]byte, 4*eventloop.BufferSize), make([]byte, 4*eventloop.BufferSize), false; !spliced; {
				go func() { _, _ = peer.Write(bulk) }()
				if _, err := io.ReadFull(c, got); err != nil {
					t.Fatal(err)
				}
				in.on(w, func() { spliced = conn.flow[backendEnd].spliced })
			}
		}
		piece := make([]byte, eventloop.BufferSize-1)
		write := func() {
			if _, err := peer.Write(piece); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, "the proxy's kernel has the bytes", func() bool { return testnet.Unacknowledged(t, peer) == 0 })
		}
		// fits writes n pieces, as if each were the first small one, and reports whether the
		// client's socket accepts them.
		fits := func(n int) (taken bool) {
			for range n {
				in.on(w, func() { conn.flow[backendEnd].streak = 0 })
				write()
				in.eventually(w, "the proxy has read them", func() bool { return rawsys.Unread(w.loop.FD(conn.slot(backendEnd))) == 0 })
			}
			in.on(w, func() { taken = w.loop.Writing(conn.slot(clientEnd)) == eventloop.OpNone })
			return taken
		}
		read := func(pieces int) {
			if _, err := io.ReadFull(c, make([]byte, pieces*len(piece))); err != nil {
				t.Fatal(err)
			}
		}
		splice()
		most := 0 // pieces that the client's socket accepts
		for n := 1; fits(1); n++ {
			most = n
		}
		read(most + 1)
		for tried := false; !tried; {
			splice()
			if !fits(most) {
				read(most)
				continue
			}
			tried = true
			in.on(w, func() { conn.flow[backendEnd].streak = copyAfter - 1 })
			write()
			alive := make(chan struct{})
			w.loop.Post(func(*worker) { close(alive) })
			select {
			case <-alive:
			case <-time.After(time.Second):
				t.Error("the loop waits for a slow reader")
			}
			read(most + 1)
		}
	})
}
