package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// startProxy runs a proxy in front of the backends of all slots, without a timeout that could end a
// stuck connection. It returns the function that stops the proxy and checks what is left in it.
func startProxy(t *testing.T, engine string, loops int, slots []*slot) (stop func()) {
	t.Helper()
	dir := socketDir(t)
	byName := map[string]*slot{}
	state := new(proxy.State)
	for _, s := range slots {
		for back, l := range s.backends {
			name := fmt.Sprintf("%s.%d", s.name, back)
			byName[name] = s
			state.Listeners = append(state.Listeners, newListener(t, dir, name, l.Addr().String()))
		}
	}
	server, err := proxy.Listen(state, proxy.Options{
		Engine: engine, Workers: loops, Log: slog.New(slog.DiscardHandler),
		Finished: func(r *proxy.Record) { byName[r.Listener.Name].records <- *r },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, addr := range server.Addrs() { // in the order of the listeners and their binds
		byName[addr.Listener].fronts[i/int(families)%int(families)][i%int(families)] = strings.TrimPrefix(addr.Bind.String(), "unix:")
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(context.Background()) }()
	stop = func() {
		t.Helper()
		if !testnet.Within(testnet.Patience, func() bool { return server.Connections() == 0 }) {
			t.Errorf("%d connections are left in the proxy", server.Connections())
		}
		for _, l := range state.Listeners {
			if n := l.Pool.Balancer.Members()[0].Active(); n != 0 {
				t.Errorf("%d connections are left on the backend of %s", n, l.Name)
			}
		}
		if n := server.Dropped(); n != 0 {
			t.Errorf("%d records were lost", n)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return stop
}

// newListener listens on sockets of all families, in front of one backend.
func newListener(t *testing.T, dir, name, address string) *proxy.Listener {
	t.Helper()
	addr, err := sockaddr(address)
	if err != nil {
		t.Fatal(err)
	}
	members := []balancer.Member{{Backend: &backend.Backend{Address: address, Sockaddr: addr}, Weight: 1}}
	picks, err := balancer.New(members, balancer.Options{Policy: "least_conn"})
	if err != nil {
		t.Fatal(err)
	}
	l := &proxy.Listener{Name: name, NoBackend: proxy.ResetClient, Pool: &proxy.Pool{
		Name: name, Balancer: picks,
		ConnectTimeout: testnet.Patience, Attempts: 1,
	}}
	for f := range families {
		address := f.address(filepath.Join(dir, name))
		if f == local {
			l.Binds = append(l.Binds, listen.Bind{Path: address})
		} else {
			l.Binds = append(l.Binds, listen.Bind{Addr: netip.MustParseAddrPort(address)})
		}
	}
	return l
}

func sockaddr(address string) (*rawsys.Sockaddr, error) {
	if addr, err := netip.ParseAddrPort(address); err == nil {
		return rawsys.InetSockaddr(addr, 0), nil
	}
	return rawsys.UnixSockaddr(address)
}
