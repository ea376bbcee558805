package proxy

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// TestSlowReaderIsNotIdle: a reader takes what waits in the proxy's send buffer so slowly that no
// operation of the proxy completes. The idle timeout expires repeatedly, and ends the connection
// only when the reader takes nothing any more.
func TestSlowReaderIsNotIdle(t *testing.T) {
	const idle = time.Second
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			network string
			size    int
			fits    bool // into a send buffer
		}{{"tcp", 32 << 20, false}, {"unix", 128 << 10, true}} {
			t.Run(test.network, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
					_, _ = c.Write(make([]byte, test.size))
					_, _ = c.Read(make([]byte, 1)) // until the proxy has gone
				})
				in := startInside(t, engine, b, func(l *Listener, _ *Options) {
					l.Idle = idle
					if test.network == "unix" {
						l.Binds = []listen.Bind{{Path: t.TempDir() + "/s"}}
					}
				})
				reader := testnet.Dial(t, test.network, in.addr)
				w := in.server.workers[0]
				c := in.relaying(w)
				fd := w.loop.FD(c.slot(clientEnd))
				// taken is how many bytes the reader has taken, counted from some fixed point.
				taken := func() (n uint64) {
					in.on(w, func() {
						var info unix.TCPInfo
						if rawsys.TCPInfo(fd, &info) == 0 {
							n = info.Bytes_acked
						} else {
							n = uint64(test.size - rawsys.Unsent(fd))
						}
					})
					return n
				}
				// look lets the idle timeout expire, and reports whether that has ended the
				// connection.
				look := func() (ended bool) {
					in.pass(idle + clockStep)
					in.on(w, func() { ended = c.state != stateRelaying })
					return ended
				}
				in.eventually(w, "the send buffer has all that it takes", func() bool {
					if test.fits {
						return c.flow[backendEnd].bytes == uint64(test.size)
					}
					fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
					n, err := unix.Poll(fds, 0)
					return n == 0 && err == nil && w.loop.Writing(c.slot(clientEnd)) != eventloop.OpNone
				})
				for i := range 4 {
					if look() {
						t.Fatalf("the reader was cut off at look %d, although it reads", i)
					}
					for before := taken(); taken() == before; {
						if _, err := reader.Read(make([]byte, 16<<10)); err != nil {
							t.Fatal(err)
						}
					}
				}
				testnet.Eventually(t, "a reader that has stopped is cut off", look)
				in.pass(flushMost + clockStep) // unread bytes are waited for that long
				in.ended(1, SideProxy, ReasonIdleTimeout)
			})
		}
	})
}

// TestUnreadEndIsComplete: an end has sent its last bytes and its FIN after the FIN of the other
// one, which reads nothing. Then the kernel has closed the connection to this end, and the bytes
// and the FIN still wait in the proxy's socket. A look at the peers must not take that for a reset.
func TestUnreadEndIsComplete(t *testing.T) {
	const piece = 16 << 10
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		for end := range 2 {
			t.Run(sideOf(end).String(), func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				in := startInside(t, engine, b, func(*Listener, *Options) {})
				ends := [2]testnet.Conn{testnet.Dial(t, "tcp", in.addr), b.Accept(t)}
				reader, writer := ends[1-end], ends[end]
				w := in.server.workers[0]
				c := in.relaying(w)
				fd := w.loop.FD(c.slot(end))
				if err := reader.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if rest, err := io.ReadAll(writer); len(rest) > 0 || err != nil {
					t.Fatalf("read %q, %v", rest, err)
				}
				stream, sent := testnet.Stream(1), int64(0)
				testnet.Eventually(t, "bytes wait in the proxy's socket", func() (unread bool) {
					if _, err := writer.Write(stream.Piece(sent, piece)); err != nil {
						t.Fatal(err)
					}
					sent += piece
					in.eventually(w, "the bytes have come", func() bool { return testnet.Unacknowledged(t, writer) == 0 })
					in.on(w, func() {
						unread = w.loop.Writing(c.slot(1-end)) != eventloop.OpNone && rawsys.Unread(fd) > 0
					})
					return unread
				})
				if err := writer.Close(); err != nil {
					t.Fatal(err)
				}
				in.eventually(w, "the kernel has closed the connection", func() bool {
					var info unix.TCPInfo
					return rawsys.TCPInfo(fd, &info) == 0 && info.State == tcpClosed
				})
				in.pass(keepAliveAfter + clockStep) // old enough for a look
				in.on(w, func() {
					if c.flags&flagResetOut != 0 {
						t.Errorf("the look takes a complete stream for a broken one: %+v", c.outcome)
					}
				})
				if t.Failed() {
					return
				}
				if err := stream.CheckExactly(reader, sent, piece); err != nil {
					t.Error(err)
				}
				in.ended(1, sideOf(1-end), ReasonClosed)
			})
		}
	})
}

// TestVanishedReader: a reader that pauses, with its receive window closed, no longer answers.
// After the time for a dead peer, and not before, it is given up. The other side gets a reset, as
// if the kernel had detected it.
func TestVanishedReader(t *testing.T) {
	// More than the reader's window, but less than the proxy's send buffer: with bytes unread, any
	// close is a reset.
	const sent = 512 << 10
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		for end := range 2 {
			t.Run(sideOf(end).String(), func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				in := startInside(t, engine, b, func(*Listener, *Options) {})
				ends := [2]testnet.Conn{testnet.Dial(t, "tcp", in.addr), b.Accept(t)}
				reader, writer := ends[end], ends[1-end]
				w := in.server.workers[0]
				c := in.relaying(w)
				fd := w.loop.FD(c.slot(end))
				if _, err := writer.Write(make([]byte, sent)); err != nil {
					t.Fatal(err)
				}
				in.eventually(w, "all has been read, and waits for the reader's window", func() bool {
					var info unix.TCPInfo
					_ = rawsys.TCPInfo(fd, &info)
					return c.flow[1-end].bytes == sent && info.Notsent_bytes > 0 && info.Snd_wnd < minWindow
				})

				in.pass(keepAliveAfter + clockStep) // old enough for a look
				in.on(w, func() {
					if c.state != stateRelaying || c.flags&(flagPatient<<end) == 0 {
						t.Error("the look does not find a living reader that pauses")
					}
					if ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); ms != 0 || err != nil {
						t.Errorf("TCP_USER_TIMEOUT = %d ms, %v, while the reader pauses", ms, err)
					}
				})
				vanish(t, reader)
				// The kernel counts how long the reader has been silent. The test lowers the limit
				// instead of waiting: the probes alone may be two minutes apart.
				var silent time.Duration
				in.eventually(w, "the reader is silent", func() bool {
					var info unix.TCPInfo
					_ = rawsys.TCPInfo(fd, &info)
					silent = time.Duration(info.Last_ack_recv) * time.Millisecond
					return silent > 10*time.Millisecond
				})
				look := func(most time.Duration) (ended bool) {
					in.on(w, func() {
						k := in.server.keepAlive
						in.server.keepAlive.Timeout = most - probesApart
						ended = w.lookAfterPeers(c)
						in.server.keepAlive = k
					})
					return ended
				}
				if look(silent + time.Hour) {
					t.Fatalf("the reader was given up after %v of silence", silent)
				}
				if !look(silent - time.Millisecond) {
					t.Fatalf("the reader was not given up after %v of silence", silent)
				}
				in.eventually(w, "the connection is over", func() bool { return c.state == stateNone || c.state == stateFlushing })
				in.on(w, func() {
					if c.state == stateFlushing {
						t.Error("the proxy waits for bytes on their way to a reader that has vanished")
					}
				})
				in.ended(1, sideOf(end), ReasonVanished)
				if _, err := writer.Read(make([]byte, 1)); !testnet.IsReset(err) {
					t.Errorf("the other side reads %v, not a reset", err)
				}
			})
		}
	})
}

// vanish makes the kernel drop all packets for c, unanswered, until the test ends: a filter that
// accepts nothing (socket(7), SO_ATTACH_FILTER).
func vanish(t *testing.T, c testnet.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	program := unix.SockFprog{Len: 1, Filter: &nothing}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
	// After a close with a FIN, the kernel would retransmit that for minutes.
	t.Cleanup(func() { _ = testnet.Reset(c) })
}
