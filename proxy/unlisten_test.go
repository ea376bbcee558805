package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// listeningSockets is the number of sockets that listen on an IPv4 port (proc(5), /proc/net/tcp; 0A
// is TCP_LISTEN).
func listeningSockets(t *testing.T, addr string) (n int) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	var number int
	_, _ = fmt.Sscan(port, &number)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(table), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == "0A" {
			n++
		}
	}
	return n
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
