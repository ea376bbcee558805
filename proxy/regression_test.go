package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// Former defects. Each was found by reading the code, not by the tests of what should work.

// TestUrgentByteInBulk sends urgent data (RFC 6093) behind bulk. splice(2) never passes its mark,
// and returns EAGAIN while poll(2) reports that there is something to read.
func TestUrgentByteInBulk(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		half := bytes.Repeat([]byte("a"), 4<<20)
		var got atomic.Int64
		ended := make(chan struct{})
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			defer close(ended)
			for p := make([]byte, 64<<10); ; {
				n, err := c.Read(p)
				if got.Add(int64(n)); err != nil {
					return
				}
			}
		})
		c := start(t, engine, addresses(b)).dial()
		if _, err := c.Write(half); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "the first half has come", func() bool { return got.Load() == int64(len(half)) })
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var sendErr error
		if err := raw.Control(func(fd uintptr) { sendErr = unix.Send(int(fd), []byte("!"), unix.MSG_OOB) }); err != nil || sendErr != nil {
			t.Fatal(err, sendErr)
		}
		if _, err := c.Write(half); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "the stream has ended", func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		if n, want := got.Load(), int64(2*len(half)+1); n != want {
			t.Errorf("%d bytes came, want %d, including the urgent one", n, want)
		}
	})
}

// TestMoreListenersThanSubmissions listens on more addresses than io_uring's queue holds
// submissions.
func TestMoreListenersThanSubmissions(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		dir := t.TempDir()
		r := start(t, engine, addresses(b), func(s *setup) {
			s.options.Workers = 1
			for i := range 1030 {
				path := filepath.Join(dir, fmt.Sprint(i))
				s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: path})
			}
		})
		c := testnet.Dial(t, "unix", filepath.Join(dir, "1029"))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		r.dial()
	})
}

// TestDescriptorsInTheStream passes a descriptor over a unix socket (SCM_RIGHTS). A receive stops
// after its bytes, and bytes that have already arrived behind them cause no edge.
func TestDescriptorsInTheStream(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		// The backend answers only after all bytes have come: an answer would cause an edge for the
		// waiting bytes, too.
		b := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			all := make([]byte, 6)
			if _, err := io.ReadFull(c, all); err == nil {
				_, _ = c.Write(all)
			}
		})
		path := filepath.Join(t.TempDir(), "s")
		var c testnet.Conn
		start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds = []listen.Bind{{Path: path}}
			s.before = func(string) { // both messages have to be there when the proxy first looks
				c = testnet.Dial(t, "unix", path)
				if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte("one"), unix.UnixRights(0), nil); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte("two")); err != nil {
					t.Fatal(err)
				}
			}
		})
		got := make([]byte, 6)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "onetwo" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestSuccessorKeepsItsSocket: a second proxy takes over the path of a unix socket from one that
// drains.
func TestSuccessorKeepsItsSocket(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := filepath.Join(t.TempDir(), "s")
		on := func(s *setup) { s.listener.Binds = []listen.Bind{{Path: path}} }
		old := start(t, engine, addresses(b), on)
		old.server.StopAccepting()
		testnet.Eventually(t, "the path is free", func() bool {
			c, err := net.Dial("unix", path)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		start(t, engine, addresses(b), on)
		old.server.Stop()
		if err := old.wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the successor's socket is gone: %v", err)
		}
	})
}

// TestDeniedClientsTakeNoSlots: more denied clients linger than the listener has slots.
func TestDeniedClientsTakeNoSlots(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		const places = 8
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), rules(false,
			acl.Rule{Name: "allow[0]", Allow: true, Prefixes: prefixes("127.0.0.2/32")},
		), func(s *setup) { s.listener.Slots, s.options.Workers = proxy.NewSlots(places), 1 })
		for range 2 * places {
			r.dial() // denied, and stays
		}
		testnet.Eventually(t, "all of them are being denied", func() bool { return r.server.Connections() == 2*places })
		c := testnet.DialFrom(t, "127.0.0.2", r.addr)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		// Answered while the denied clients linger, not after their time was over.
		if n := r.server.Connections(); n != 2*places+1 {
			t.Errorf("%d connections when the allowed client was answered, want %d", n, 2*places+1)
		}
	})
}

// TestUnusableAddressFamily: the kernel makes no sockets for a backend's address family, as on a
// machine without IPv6. Such a backend cannot be reached at all; it is not a shortage that may
// pass.
func TestUnusableAddressFamily(t *testing.T) {
	unusable := func(s *setup) {
		s.before = func(string) { s.listener.Pool.Balancer.Members()[0].Sockaddr = new(rawsys.Sockaddr) } // AF_UNSPEC: EAFNOSUPPORT, socket(2)
	}
	engines(t, func(t *testing.T, engine string) {
		t.Run("another is used", func(t *testing.T) {
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			r := start(t, engine, []string{testnet.Refusing(t), b.Addr}, unusable)
			const many = 4
			for range many { // a client that stays makes the other backend the emptier one
				mustAsk(t, r.dial(), "hello")
			}
			if ok, failed := r.pool.Balancer.Members()[0].Dials(); ok != 0 || failed == 0 {
				t.Errorf("dials of the unusable backend: %d succeeded, %d failed; want some that failed", ok, failed)
			}
			if n := r.pool.Balancer.Members()[0].Active(); n != 0 || b.Accepted() != many {
				t.Errorf("%d connections are counted on the unusable backend, %d of %d reached the other", n, b.Accepted(), many)
			}
		})
		t.Run("there is no other", func(t *testing.T) {
			r := start(t, engine, []string{testnet.Refusing(t)}, unusable)
			if n, err := r.dial().Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the client reads %d bytes, %v; want EOF", n, err)
			}
			if record := r.endedOne(proxy.SideBackend, proxy.ReasonConnectUnreachable, 0, 0); record.Attempts != 1 {
				t.Errorf("attempts = %d, want 1", record.Attempts)
			}
			if n := r.server.Counts().Pools[0].Dials(proxy.ReasonConnectUnreachable); n != 1 {
				t.Errorf("%d dials are counted as unreachable, want 1", n)
			}
		})
	})
}

// A client that connects while the listening sockets are being opened is served: none of the
// sockets is closed again.
func TestClientsOfTheFirstMoment(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		backends := addresses(testnet.Serve(t, "tcp", "127.0.0.1:0", testnet.Echo))
		for range 15 {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := free.Addr().String()
			free.Close()
			early := make(chan net.Conn)
			// From another address: from the same one, the kernel may give a socket that very port
			// as its own, and it would connect to itself.
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			var group sync.WaitGroup
			for range 2 {
				group.Go(func() {
					for {
						if c, err := dialer.Dial("tcp", address); err == nil {
							early <- c
							return
						}
					}
				})
			}
			r := start(t, engine, backends, func(s *setup) { s.listener.Binds[0].Addr = netip.MustParseAddrPort(address) })
			for range 2 {
				c := <-early
				exchange(t, c, []byte("early"), make([]byte, 5))
				c.Close()
			}
			group.Wait()
			r.server.Stop()
			if err := r.wait(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestUrgentBytesStayInLine sends urgent bytes, alone and behind others, both ways. Each arrives at
// its position in the stream, as at a receiver with SO_OOBINLINE.
func TestUrgentBytesStayInLine(t *testing.T) {
	const connections, rounds = 20, 10
	exchange := func(c testnet.Conn, speaksFirst bool) error {
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
		}); err != nil {
			return err
		}
		for i := range rounds {
			message := []byte{'!'}
			if i%2 == 1 {
				message = []byte("before!")
			}
			for turn := range 2 {
				if (turn == 0) != speaksFirst {
					got := make([]byte, len(message))
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, message) {
						return fmt.Errorf("round %d: received %q, %v; want %q", i, got, err, message)
					}
					continue
				}
				var sendErr error
				if err := raw.Control(func(fd uintptr) { sendErr = unix.Send(int(fd), message, unix.MSG_OOB) }); err != nil || sendErr != nil {
					return fmt.Errorf("round %d: %v, %v", i, err, sendErr)
				}
			}
		}
		return nil
	}
	engines(t, func(t *testing.T, engine string) {
		for _, networks := range [][2]string{{"tcp", "tcp"}, {"tcp", "unix"}, {"unix", "tcp"}} {
			t.Run(networks[0]+" to "+networks[1], func(t *testing.T) {
				dir, address := t.TempDir(), ""
				if networks[1] == "unix" {
					address = filepath.Join(dir, "b")
				}
				b := testnet.Serve(t, networks[1], address, func(c testnet.Conn) {
					if err := exchange(c, false); err != nil {
						t.Errorf("backend: %v", err)
					}
				})
				r := start(t, engine, addresses(b), func(s *setup) {
					if networks[0] == "unix" {
						s.listener.Binds = []listen.Bind{{Path: filepath.Join(dir, "l")}}
					}
				})
				var group sync.WaitGroup
				for range connections {
					c := testnet.Dial(t, networks[0], r.addr)
					group.Go(func() {
						if err := exchange(c, true); err != nil {
							t.Errorf("client: %v", err)
						}
					})
				}
				group.Wait()
			})
		}
	})
}
