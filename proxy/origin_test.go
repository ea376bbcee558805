package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/sockopt"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// everyOption are TCP options that any user may set.
var everyOption = sockopt.TCP{
	KeepAlive:  sockopt.KeepAlive{Idle: 2 * time.Second, Interval: 7 * time.Second, Count: 3, Timeout: 54 * time.Second},
	Congestion: "reno", NotSentLowat: 16 << 10, Nagle: true, TOS: 0x48,
}

// socketOf returns the descriptor of this process whose socket has the local address, and another
// peer than an accepted one.
func socketOf(t *testing.T, local, peer string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		own, errno := rawsys.LocalAddr(fd)
		other, errno2 := rawsys.PeerAddr(fd)
		if errno == 0 && errno2 == 0 && own.String() == local && other.String() == peer {
			return fd
		}
	}
	t.Fatalf("no socket from %s to %s", local, peer)
	return -1
}

// hasOptions compares what the kernel says of a socket with everyOption.
func hasOptions(t *testing.T, what string, fd int) {
	t.Helper()
	for _, o := range []struct {
		name                string
		level, option, want int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 2},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 7},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 54_000},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 16 << 10},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 0},
		{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, 0x48},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.option); err != nil || got != o.want {
			t.Errorf("%s: %s is %d, %v, want %d", what, o.name, got, err, o.want)
		}
	}
	if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); err != nil || name != everyOption.Congestion {
		t.Errorf("%s: TCP_CONGESTION is %q, %v", what, name, err)
	}
}

// TestSocketOptions: sockets to clients inherit the options of the bind, and sockets to backends
// have those of the pool. Keepalive is set there when a connection is some seconds old.
func TestSocketOptions(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds[0].Options.TCP = everyOption
			s.listener.KeepAlive = &everyOption.KeepAlive
			s.pooled = func(p *proxy.Pool) {
				p.Origin = &proxy.Origin{TCP: everyOption}
			}
		})
		c := r.dial()
		backend := b.Accept(t)
		hasOptions(t, "client", socketOf(t, r.addr, c.LocalAddr().String()))
		fd := socketOf(t, backend.RemoteAddr().String(), b.Addr)
		if name, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); name != "reno" {
			t.Errorf("the congestion control of a new socket to the backend is %q", name)
		}
		testnet.Eventually(t, "keepalive is set", func() bool {
			idle, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			return idle == 2
		})
		hasOptions(t, "backend", fd)
	})
}

// TestApplyOptions: a State with other options gets new listening sockets. Connections and clients
// in the queues of the old ones stay.
func TestApplyOptions(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds = []listen.Bind{tcpBind("127.0.0.1:" + strconv.Itoa(testnet.FreePort(t)))}
		})
		before := r.dial()
		mustAsk(t, before, "before")
		next := *r.state.Listeners[0]
		next.Binds = []listen.Bind{next.Binds[0]}
		next.Binds[0].Options = listen.Options{TCP: everyOption, Backlog: 7}
		next.KeepAlive = &everyOption.KeepAlive
		if err := r.server.Apply(&proxy.State{Listeners: []*proxy.Listener{&next}}, 0); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "new clients have the options", func() bool {
			c, err := testnet.TryDial("tcp", r.addr)
			if err != nil {
				t.Fatal(err) // no client is refused meanwhile
			}
			defer c.Close()
			mustAsk(t, c, "hello")
			tos, _ := unix.GetsockoptInt(socketOf(t, r.addr, c.LocalAddr().String()), unix.IPPROTO_IP, unix.IP_TOS)
			return tos == 0x48
		})
		mustAsk(t, before, "after")
	})
}

func sources(addresses ...string) *proxy.Origin {
	o := new(proxy.Origin)
	for _, a := range addresses {
		ip := netip.MustParseAddr(a)
		from := rawsys.InetSockaddr(netip.AddrPortFrom(ip, 0), 0)
		if ip.Is4() {
			o.IPv4 = append(o.IPv4, from)
		} else {
			o.IPv6 = append(o.IPv6, from)
		}
	}
	return o
}

// TestSources: all source addresses are used, and one that this machine does not have is passed
// over, also by second dials.
func TestSources(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), func(s *setup) {
			s.options.Workers = 1
			s.pooled = func(p *proxy.Pool) { p.Origin = sources("127.0.0.2", "192.0.2.99", "127.0.0.3", "::1") }
		})
		from := make(map[netip.Addr]int)
		for range 6 {
			r.dial()
			from[netip.MustParseAddrPort(b.Accept(t).RemoteAddr().String()).Addr()]++
		}
		two, three := from[netip.MustParseAddr("127.0.0.2")], from[netip.MustParseAddr("127.0.0.3")]
		if two == 0 || three == 0 || two+three != 6 {
			t.Errorf("connections by source: %v", from)
		}
	})
}

// TestNoSource: a backend of a family without a source is passed over. Without another one, the
// reason says so, and the backend is not blamed.
func TestNoSource(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		six := testnet.Serve(t, "tcp", "[::1]:0", testnet.Echo)
		on := func(origin *proxy.Origin, backends ...*testnet.Backend) *running {
			return start(t, engine, addresses(backends...), func(s *setup) {
				s.policy = "first"
				s.pooled = func(p *proxy.Pool) { p.Origin = origin }
			})
		}
		both := on(sources("127.0.0.2"), six, b)
		mustAsk(t, both.dial(), "hello")
		alone := on(sources("127.0.0.2"), six)
		for range 3 {
			c := alone.dial()
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("read %d bytes", n)
			}
		}
		for _, record := range alone.ended(3) {
			alone.expect(record, proxy.SideProxy, proxy.ReasonNoSource, 0, 0)
			if record.Backend == nil || record.Backend.Active() != 0 || record.Attempts != 1 {
				t.Errorf("%+v", record)
			}
		}
	})
}

// TestMultipath relays between a client and a backend that both use MPTCP: bulk data both ways,
// half-close, and a reset.
func TestMultipath(t *testing.T) {
	if err := sockopt.CheckMultipath(); err != nil {
		t.Skip(err)
	}
	engines(t, func(t *testing.T, engine string) {
		var config net.ListenConfig
		config.SetMultipathTCP(true)
		l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		r := start(t, engine, []string{l.Addr().String()}, func(s *setup) {
			s.listener.Binds[0].Options.TCP.Multipath = true
			s.listener.Multipath = true
			s.pooled = func(p *proxy.Pool) { p.Origin = &proxy.Origin{TCP: sockopt.TCP{Multipath: true}} }
		})
		pair := func(multipath bool) (client, backend *net.TCPConn) {
			d := net.Dialer{Timeout: testnet.Patience}
			d.SetMultipathTCP(multipath)
			c, err := d.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			client, backend = c.(*net.TCPConn), a.(*net.TCPConn)
			for _, c := range []*net.TCPConn{client, backend} {
				t.Cleanup(func() { c.Close() })
				_ = c.SetDeadline(time.Now().Add(testnet.Patience))
			}
			if is, err := client.MultipathTCP(); err != nil || is != multipath {
				t.Errorf("the client uses MPTCP: %v, %v, want %v", is, err, multipath)
			}
			if is, err := backend.MultipathTCP(); err != nil || !is {
				t.Errorf("the backend uses MPTCP: %v, %v", is, err)
			}
			return client, backend
		}
		const size = 4 << 20
		in, out := testnet.Stream(1), testnet.Stream(2)
		for _, multipath := range []bool{true, false} {
			client, backend := pair(multipath)
			both(t, func() error {
				err := in.Send(client, size, 64<<10)
				return errors.Join(err, client.CloseWrite(), out.CheckExactly(client, size, 64<<10))
			}, func() error {
				err := in.CheckExactly(backend, size, 64<<10)
				return errors.Join(err, out.Send(backend, size, 64<<10), backend.CloseWrite())
			})
		}
		client, backend := pair(true)
		_ = backend.SetLinger(0)
		_ = backend.Close()
		if _, err := client.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("after a reset of the backend, the client reads: %v", err)
		}
		r.ended(3)
		// Like any other socket, it can be closed to clients, and opened again.
		r.server.SetListening(r.state.Listeners[0], false)
		testnet.Eventually(t, "clients are refused", func() bool {
			c, err := testnet.TryDial("tcp", r.addr)
			if err == nil {
				c.Close()
			}
			return errors.Is(err, unix.ECONNREFUSED)
		})
		r.server.SetListening(r.state.Listeners[0], true)
		testnet.Eventually(t, "clients are served", func() bool {
			c, err := testnet.TryDial("tcp", r.addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	})
}
