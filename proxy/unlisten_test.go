package proxy_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// listeningSockets is the number of sockets that listen on an IPv4 port (sock_diag(7)).
// /proc/net/tcp would list all connections of the machine with them, which may take seconds.
func listeningSockets(t *testing.T, addr string) (n int) {
	t.Helper()
	const (
		requestLen = 56      // of struct inet_diag_req_v2
		portAt     = 4       // of the source port in struct inet_diag_msg
		listening  = 1 << 10 // TCP_LISTEN
	)
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request := make([]byte, unix.NLMSG_HDRLEN+requestLen)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[unix.NLMSG_HDRLEN], request[unix.NLMSG_HDRLEN+1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(request[unix.NLMSG_HDRLEN+4:], listening)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64<<10)
	for {
		size, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:size])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return n
			case unix.NLMSG_ERROR:
				t.Fatal("sock_diag refuses the request")
			}
			if binary.BigEndian.Uint16(m.Data[portAt:]) == at.Port() {
				n++
			}
		}
	}
}

// TestUnlistenKeepsThePort: every loop's socket listens on the same port again, even if the kernel
// chose the port.
func TestUnlistenKeepsThePort(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		listening := func(n int) {
			t.Helper()
			if !testnet.Within(testnet.Patience/10, func() bool { return listeningSockets(t, r.addr) == n }) {
				t.Fatalf("%d sockets listen on the port, want %d", listeningSockets(t, r.addr), n)
			}
		}
		listening(2)
		r.server.SetListening(r.state.Listeners[0], false)
		listening(0)
		r.server.SetListening(r.state.Listeners[0], true)
		listening(2)
	})
}

// TestUnlistenKeepsOthersOut checks that no other process can take the address meanwhile.
func TestUnlistenKeepsOthersOut(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(*setup) {})
		r.server.SetListening(r.state.Listeners[0], false)
		testnet.Eventually(t, "the port is closed", func() bool { return listeningSockets(t, r.addr) == 0 })
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}}
		if l, err := config.Listen(context.Background(), "tcp", r.addr); err == nil {
			t.Errorf("another program listens on %s now", r.addr)
			l.Close()
		}
	})
}

// TestSetListeningBeforeRun closes a listener and reopens it before the loops run.
func TestSetListeningBeforeRun(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		s := &setup{
			listener: proxy.Listener{Name: "front", Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}},
			policy:   "least_conn", backends: addresses(b), timeout: testnet.Patience, attempts: 1,
			options: proxy.Options{Engine: engine, Workers: 1, Log: slog.New(slog.DiscardHandler)},
		}
		s.listener.Pool = s.pool(t)
		state := &proxy.State{Listeners: []*proxy.Listener{&s.listener}}
		server, err := proxy.Listen(state, s.options)
		if err != nil {
			t.Fatal(err)
		}
		server.SetListening(&s.listener, false)
		server.SetListening(&s.listener, true)
		_, port, _ := net.SplitHostPort(server.Addrs()[0].Bind.Addr.String())
		ran := make(chan error, 1)
		go func() { ran <- server.Run(t.Context()) }()
		defer func() {
			server.Stop()
			if err := <-ran; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		var c testnet.Conn
		testnet.Eventually(t, "it listens again", func() bool {
			c, err = testnet.TryDial("tcp", "127.0.0.1:"+port)
			return err == nil
		})
		defer c.Close()
		mustAsk(t, c, "hello")
	})
}
