package proxy_test

import (
	"errors"
	"io"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// hungUp waits until poll(2) reports that the peer of c has reset the connection, or closed a unix
// socket.
func hungUp(t *testing.T, c testnet.Conn) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		var n int
		for n, err = unix.Poll(fds, int(testnet.Patience/4/time.Millisecond)); err == unix.EINTR; {
			n, err = unix.Poll(fds, int(testnet.Patience/4/time.Millisecond))
		}
		if n == 0 {
			err = errors.New("the end that waits learns nothing")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leaveUnread sends a byte that arrives, but is not read.
func leaveUnread(from, to testnet.Conn) error {
	if _, err := from.Write([]byte("x")); err != nil {
		return err
	}
	raw, err := to.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Read(func(fd uintptr) bool {
		_, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return err != unix.EAGAIN
	}), err)
}

// TestResetBehindFIN: one end finishes, and later resets the connection (on a unix socket: closes
// it with a byte unread) while the other end waits. On a direct connection, the other end would see
// that at once.
func TestResetBehindFIN(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for i, first := range sides {
			for _, network := range []string{"tcp", "unix"} {
				t.Run(first.String()+"/"+network, func(t *testing.T) {
					dir, address := t.TempDir(), ""
					if network == "unix" {
						address = filepath.Join(dir, "b")
					}
					back := testnet.Listen(t, network, address)
					r := start(t, engine, addresses(back), func(s *setup) {
						if network == "unix" {
							s.listener.Binds = []listen.Bind{{Path: filepath.Join(dir, "l")}}
						}
					})
					ends := []testnet.Conn{testnet.Dial(t, network, r.addr), back.Accept(t)}
					mine, other := ends[i], ends[1-i]
					if err := mine.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					n, err := other.Read(make([]byte, 1))
					if n != 0 || err != io.EOF {
						t.Fatalf("read %d bytes, %v; want EOF", n, err)
					}
					sent := int64(0)
					if network == "tcp" {
						_ = testnet.Reset(mine)
					} else {
						if sent, err = 1, leaveUnread(other, mine); err != nil {
							t.Fatal(err)
						}
						mine.Close()
					}
					hungUp(t, other)
					in, out := inOut(first, 0, sent)
					r.endedOne(first, proxy.ReasonReset, in, out)
				})
			}
		}
	})
}

// TestClientsThatHaveGoneLeaveTheQueue fills a queue with clients that leave while they wait.
func TestClientsThatHaveGoneLeaveTheQueue(t *testing.T) {
	ends := map[string]func(testnet.Conn) error{
		"reset":            testnet.Reset,
		"close":            func(c testnet.Conn) error { return c.Close() },
		"FIN":              testnet.Conn.CloseWrite,
		"reset after data": func(c testnet.Conn) error { _, err := c.Write([]byte("x")); return errors.Join(err, testnet.Reset(c)) },
	}
	engines(t, func(t *testing.T, engine string) {
		for name, leave := range ends {
			t.Run(name, func(t *testing.T) {
				const size = 5
				b := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(b), queueing(1, size, testnet.Patience))
				served := r.dial()
				peer := b.Accept(t)
				var gone []testnet.Conn
				for range size {
					gone = append(gone, r.dial())
				}
				r.waiting(size)
				for _, c := range gone {
					if err := leave(c); err != nil {
						t.Fatal(err)
					}
				}
				r.waiting(0)
				alive := r.dial()
				if _, err := alive.Write([]byte("alive")); err != nil {
					t.Fatal(err)
				}
				r.waiting(1)
				served.Close()
				peer.Close()
				got := make([]byte, len("alive"))
				if _, err := io.ReadFull(b.Accept(t), got); err != nil || string(got) != "alive" {
					t.Errorf("the backend's next client sends %q, %v", got, err)
				}
				if n := b.Accepted(); n != 2 {
					t.Errorf("%d connections reached the backend, want 2", n)
				}
				reason := proxy.ReasonReset
				if name == "close" || name == "FIN" {
					reason = proxy.ReasonClosed
				}
				for _, record := range r.ended(size + 1) {
					if record.Backend == nil && !record.Is(proxy.SideClient, reason) {
						t.Errorf("a client that left the queue: %v %v", record.Side, record.Reason)
					}
				}
			})
		}
	})
}

// TestFinishedClientsKeepTheirQueueSlot: clients send a request and a FIN, and wait for the
// answer in the queue.
func TestFinishedClientsKeepTheirQueueSlot(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				b := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(b), queueing(1, 5, testnet.Patience), func(s *setup) {
					if network == "unix" {
						s.listener.Binds = []listen.Bind{{Path: filepath.Join(t.TempDir(), "l")}}
					}
				})
				served := testnet.Dial(t, network, r.addr)
				peer := b.Accept(t)
				c := testnet.Dial(t, network, r.addr)
				if _, err := c.Write([]byte("request")); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				r.waiting(1)
				// A later client that has left leaves the queue only after the loop has looked at
				// the first.
				later := testnet.Dial(t, network, r.addr)
				r.waiting(2)
				later.Close()
				r.waiting(1)
				served.Close()
				peer.Close()
				next := b.Accept(t)
				if got, err := io.ReadAll(next); err != nil || string(got) != "request" {
					t.Fatalf("the backend reads %q, %v", got, err)
				}
				if _, err := next.Write([]byte("answer")); err != nil {
					t.Fatal(err)
				}
				next.Close()
				if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
					t.Errorf("the client reads %q, %v", got, err)
				}
			})
		}
	})
}

// TestClientIsWatchedAgain: a queued client's turn comes, but its backend refuses by then. The
// client goes back into the queue, and leaves it when it closes.
func TestClientIsWatchedAgain(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 10, testnet.Patience), func(s *setup) {
			s.listener.NoBackend, s.attempts, s.options.Workers = proxy.QueueClient, 1, 1
		})
		r.dial()
		b.Accept(t)
		c := r.dial()
		r.waiting(1)
		b.Close()
		backend := r.pool.Balancer.Members()[0].Backend
		testnet.Eventually(t, "its dial has failed", func() bool { _, failed := backend.Dials(); return failed > 0 })
		r.waiting(1)
		c.Close()
		r.waiting(0)
	})
}
