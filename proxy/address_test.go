package proxy_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestAddressFamilies forwards bytes between each kind of client and each kind of backend.
func TestAddressFamilies(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, front := range []string{"127.0.0.1:0", "[::1]:0", "unix"} {
			for _, back := range []string{"127.0.0.1:0", "[::1]:0", "unix"} {
				t.Run(fmt.Sprintf("%s_to_%s", front, back), func(t *testing.T) {
					dir := t.TempDir()
					var b *testnet.Backend
					if back == "unix" {
						b = testnet.Listen(t, "unix", filepath.Join(dir, "back"))
					} else {
						b = testnet.Listen(t, "tcp", back)
					}
					network := "tcp"
					r := start(t, engine, addresses(b), func(s *setup) {
						if front == "unix" {
							network = "unix"
							s.listener.Binds[0] = listen.Bind{Path: filepath.Join(dir, "front")}
						} else {
							s.listener.Binds[0].Addr = netip.MustParseAddrPort(front)
						}
					})
					const n, m = 1<<20 + 1, 300_007
					c := testnet.Dial(t, network, r.addr)
					both(t, func() error { return converse(c, 1, n, 2, m, awkward[1:], []int{65536}) },
						func() error { return converse(b.Accept(t), 2, m, 1, n, []int{16385}, []int{1447, 65536}) })
					record := r.ended(1)[0]
					r.expect(record, record.Side, proxy.ReasonClosed, n, m)
					if record.Client.IsValid() != (network == "tcp") {
						t.Errorf("client = %v", record.Client)
					}
				})
			}
		}
	})
}

// TestSeveralBinds: one listener on several addresses.
func TestSeveralBinds(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := filepath.Join(t.TempDir(), "front")
		r := start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds = []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}, {Addr: netip.MustParseAddrPort("[::1]:0")},
				{Addr: netip.MustParseAddrPort("127.0.0.2:0")}, {Path: path}}
		})
		for _, a := range r.server.Addrs() {
			network := "tcp"
			if a.Bind.IsUnix() {
				network = "unix"
			}
			mustAsk(t, testnet.Dial(t, network, addressOf(a.Bind)), a.Bind.String())
		}
	})
}

// TestAddressInUse starts a second proxy on the first one's port, on another process's port, and on
// the first one's unix socket.
func TestAddressInUse(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		path := filepath.Join(t.TempDir(), "front")
		start(t, engine, addresses(b), func(s *setup) { s.listener.Binds[0] = listen.Bind{Path: path} })
		for _, bind := range []listen.Bind{
			{Addr: netip.MustParseAddrPort(r.addr)}, {Addr: netip.MustParseAddrPort(b.Addr)}, {Path: path},
		} {
			_, err := tryStart(t, engine, addresses(b), func(s *setup) { s.listener.Binds = append(s.listener.Binds, bind) })
			if err == nil || !strings.Contains(err.Error(), "address already in use") ||
				!strings.Contains(err.Error(), bind.String()) {
				t.Errorf("a second listener on %v: %v", bind, err)
			}
		}
		mustAsk(t, r.dial(), "the first one is unharmed")
		mustAsk(t, testnet.Dial(t, "unix", path), "and so is its socket")
	})
}

// TestStaleSocket: a process that was killed has left its socket file. The file is replaced; other
// files are not.
func TestStaleSocket(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := filepath.Join(t.TempDir(), "front")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		r := start(t, engine, addresses(b), func(s *setup) { s.listener.Binds[0] = listen.Bind{Path: path} })
		mustAsk(t, testnet.Dial(t, "unix", path), "hello")
		r.server.Stop()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the socket file is still there after Run: %v", err)
		}
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tryStart(t, engine, addresses(b), func(s *setup) { s.listener.Binds[0] = listen.Bind{Path: path} }); err == nil {
			t.Error("a file that is no socket was replaced")
		}
		if got, err := os.ReadFile(path); string(got) != "precious" {
			t.Errorf("the file holds %q, %v", got, err)
		}
	})
}
