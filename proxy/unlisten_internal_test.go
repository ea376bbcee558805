package proxy

import (
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// TestUnlistenParks closes a listener after a client has connected for which no slot is free. Then
// a slot becomes free on another loop: the client gets it.
func TestUnlistenParks(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(_ *Listener, o *Options) { o.Workers, o.MaxConnections = 2, 1 })
		first, other := in.server.workers[0], in.server.workers[1]
		l := in.listener()
		in.on(other, func() { other.setListening(l, false) }) // all clients come to the first loop
		in.eventually(other, "it has stopped to listen", func() bool {
			return other.sockets[0].state == listenShut
		})
		fd, holder := socketPair(t) // has the only slot, on the other loop
		addr := in.addr
		var waits testnet.Conn
		var err error
		in.on(first, func() {
			if !in.server.slots.take(l.Slots) {
				t.Error("no slot")
			}
			other.load.Add(1)
			other.loop.Post(arrival{fd: fd, listener: l, at: first.loop.Now()})
			waits, err = testnet.TryDial("tcp", addr)
			first.setListening(l, false)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer waits.Close()
		in.eventually(first, "the client is parked", func() bool { return len(first.sockets[0].parked) == 1 })
		if _, err := io.WriteString(waits, "x"); err != nil {
			t.Fatal(err)
		}
		in.relaying(other)
		holder.Close()
		testnet.Eventually(t, "the slot is free", func() bool { return in.server.slots.all.Used() == 0 || b.Accepted() == 2 })
		_ = waits.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadFull(waits, make([]byte, 1)); err != nil {
			t.Errorf("a slot is free, and the client still waits for it: %v", err)
		}
	})
}

// TestReopenFails makes listen(2) fail for a while. Until it works again, the socket can be shut or
// closed like any other. It is tried again only while the listener is open.
func TestReopenFails(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		for name, next := range map[string]struct {
			do    func(*worker, *Listener)
			state listenState
		}{
			"and it waits":     {func(*worker, *Listener) {}, listenReopening},
			"and it is shut":   {func(w *worker, l *Listener) { w.setListening(l, false) }, listenShut},
			"and it is closed": {func(w *worker, _ *Listener) { w.stopAccepting() }, listenClosed},
		} {
			t.Run(name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				in := startInside(t, engine, b, func(*Listener, *Options) {})
				w, l := in.server.workers[0], in.listener()
				var s *listenSocket
				in.on(w, func() { s = w.sockets[0]; w.setListening(l, false) })
				is := func(state listenState) {
					t.Helper()
					in.eventually(w, "the socket is in the state", func() bool { return s.state == state })
				}
				is(listenShut)
				socket, err := unix.Dup(s.fd)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(socket)
				other, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // no socket: listen(2) fails
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(other)
				replace := func(by int) {
					if err := unix.Dup3(by, s.fd, unix.O_CLOEXEC); err != nil {
						t.Fatal(err)
					}
				}
				replace(other)
				in.on(w, func() { w.setListening(l, true) })
				is(listenReopening)
				in.pass(3 * acceptRetry)
				is(listenReopening)
				in.on(w, func() { next.do(w, l) })
				is(next.state)
				if next.state == listenClosed {
					return
				}
				replace(socket)
				in.pass(3 * acceptRetry)
				if next.state == listenShut {
					is(listenShut)
					in.on(w, func() { w.setListening(l, true) })
				}
				is(listenAccepting)
				echoes(t, testnet.Dial(t, "tcp", in.addr))
			})
		}
	})
}
