package faults

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

// TestFaultSelfConnect stops a local backend whose port the kernel also picks as a source port, for
// one dial in eight. The proxy must not become its own backend: clients see a refusing backend,
// never their own bytes, and the server can bind its port again.
func TestFaultSelfConnect(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	setting(t, "net/ipv4/ip_local_port_range", "40000 40015")
	engines(t, func(t *testing.T, engine string) {
		for _, address := range []string{"127.0.0.1:40008", "[::1]:40008"} {
			t.Run(address, func(t *testing.T) {
				p := run(t, settings{engine: engine, backends: []string{address}})
				const clients = 200
				for range clients {
					c := p.dial()
					_, _ = c.Write([]byte("hello")) // fails if the proxy was faster
					if n, err := c.Read(make([]byte, 5)); n != 0 || err == nil {
						t.Fatalf("the client reads %d bytes, %v: who has sent them?", n, err)
					}
					c.Close()
				}
				bindStrictly(t, address)
				p.stop()
				for _, r := range p.records() {
					if r.Reason != "connect_refused" || r.Side != "backend" {
						t.Errorf("a connection ended with %s, side %s; want connect_refused of the backend", r.Reason, r.Side)
					}
				}
			})
		}
	})
}

// bindStrictly binds a port as a server without SO_REUSEADDR does, and releases it.
func bindStrictly(t *testing.T, address string) {
	t.Helper()
	addr := rawsys.InetSockaddr(netip.MustParseAddrPort(address), 0)
	fd, err := unix.Socket(addr.Family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if !testnet.Within(testnet.Patience, func() bool { return addr.Bind(fd) == 0 }) {
		t.Errorf("the server cannot bind %s", address)
	}
}
