package eventloop

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

var watchBehaviours = slices.Concat(
	on("watch/reset", watchReset, streams...),
	on("watch/FIN, with bytes before it or without", watchEnd, streams...),
	on("watch/bytes alone are nothing", watchBytes, streams...),
	on("watch/reset after the FIN was received", watchResetAfterEnd, streams...),
	on("watch/cancel", watchCancel, streams...),
)

func (d *driver) startWatch(s Slot, fin bool) { d.do(func() { d.loop.Watch(s, fin) }) }

// watchReset: whether the reset comes before or after the watch has begun.
func watchReset(t *testing.T, d *driver, network string) {
	for _, fin := range []bool{false, true} {
		for _, before := range []bool{false, true} {
			for _, bytes := range []int{0, 10} {
				s, peer := d.pair(network)
				if bytes > 0 {
					write(t, peer, make([]byte, bytes))
				}
				if before {
					d.reset(s, peer)
				}
				d.startWatch(s, fin)
				if !before {
					d.reset(s, peer)
				}
				d.await(s, OpWatch).expect(t, 0, 0)
				if errno := rawsys.SocketError(d.loop.FD(s)); errno != unix.ECONNRESET {
					t.Fatalf("the socket's error is %v", errno)
				}
			}
		}
	}
}

func watchEnd(t *testing.T, d *driver, network string) {
	for _, before := range []bool{false, true} {
		for _, last := range []string{"", "last words"} {
			s, peer := d.pair(network)
			end := func() {
				if last != "" {
					write(t, peer, []byte(last))
				}
				finish(t, peer)
				awaitPoll(t, d.loop.FD(s), unix.POLLRDHUP)
			}
			if before {
				end()
			}
			d.startWatch(s, true)
			if !before {
				end()
			}
			d.await(s, OpWatch).expect(t, 0, 0)
			if got := d.recvExactly(s, len(last)); string(got) != last {
				t.Fatalf("received %q", got)
			}
			d.recv(s).expect(t, 0, 0)
		}
	}
}

func watchBytes(t *testing.T, d *driver, network string) {
	for _, fin := range []bool{false, true} {
		s, peer := d.pair(network)
		d.startWatch(s, fin)
		write(t, peer, []byte("hello"))
		awaitPoll(t, d.loop.FD(s), unix.POLLIN)
		d.do(func() {}) // the loop waits once more
		d.do(func() {
			if op := d.loop.Reading(s); op != OpWatch {
				t.Errorf("with bytes to read, what is in flight is %v", op)
			}
		})
		d.cancelRead(s, OpWatch).expect(t, 0, unix.ECANCELED)
		if r := d.recv(s); string(r.data) != "hello" || r.Err != 0 {
			t.Fatalf("received %q, %v", r.data, r.Err)
		}
	}
}

// watchResetAfterEnd: a peer finishes and then resets. On a unix socket, it closes.
func watchResetAfterEnd(t *testing.T, d *driver, network string) {
	for _, before := range []bool{false, true} {
		s, peer := d.pair(network)
		finish(t, peer)
		d.recv(s).expect(t, 0, 0)
		gone := func() {
			if peer, ok := peer.(*net.TCPConn); ok {
				peer.SetLinger(0)
			}
			peer.Close()
			awaitPoll(t, d.loop.FD(s), unix.POLLHUP)
		}
		if before {
			gone()
		}
		d.startWatch(s, false)
		if !before {
			gone()
		}
		d.await(s, OpWatch).expect(t, 0, 0)
		errno := rawsys.SocketError(d.loop.FD(s))
		if want := map[string]unix.Errno{"tcp": unix.EPIPE, "unix": 0}[network]; errno != want {
			t.Fatalf("the socket's error is %v, want %v", errno, want)
		}
	}
}

func watchCancel(t *testing.T, d *driver, network string) {
	s, peer := d.pair(network)
	for range 3 {
		d.startWatch(s, true)
		d.cancelRead(s, OpWatch).expect(t, 0, unix.ECANCELED)
	}
	write(t, peer, []byte("hello"))
	d.recv(s).expect(t, 5, 0)
	finish(t, peer)
	d.recv(s).expect(t, 0, 0)
}
