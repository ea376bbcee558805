package proxy_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestLoopLeavesOtherListenersTheirShare: two proxies send their clients to each other, so one
// connection causes more until all slots are taken. Another listener of the first proxy has its
// share of the slots, and serves.
func TestLoopLeavesOtherListenersTheirShare(t *testing.T) {
	const most, share = 64, 64 / 4 / 2
	engines(t, func(t *testing.T, engine string) {
		echo := testnet.Serve(t, "tcp", "", testnet.Echo)
		served := (&setup{backends: []string{echo.Addr}, policy: "least_conn", timeout: testnet.Patience, attempts: 1}).pool(t)
		second := filepath.Join(t.TempDir(), "second")
		r := start(t, engine, []string{second}, func(s *setup) {
			s.options.MaxConnections = most
			s.more = []*proxy.Listener{{Name: "other", Pool: served, Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}}}
		})
		start(t, engine, []string{r.addr}, func(s *setup) {
			s.listener.Binds[0] = listen.Bind{Path: second}
		})
		r.dial()
		testnet.Eventually(t, "the loop has all slots but the share of the other listener", func() bool {
			return r.server.Connections() == most-share
		})
		other := r.server.Addrs()[1].Bind.Addr.String()
		for i := range share {
			mustAsk(t, testnet.Dial(t, "tcp", other), fmt.Sprintf("client %d", i))
		}
	})
}

// TestSharesAddUp: clients of three listeners come and go on two loops, always at the limit. No
// slot is lost, and no slot is taken twice.
func TestSharesAddUp(t *testing.T) {
	const most, many = 24, 60 // each has a share of 2
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) {
			s.options.MaxConnections = most
			for _, name := range []string{"second", "third"} {
				s.more = append(s.more, &proxy.Listener{Name: name, Binds: []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}}})
			}
		})
		var clients sync.WaitGroup
		for _, a := range r.server.Addrs() {
			for i := range many {
				clients.Go(func() {
					c, err := testnet.TryDial("tcp", a.Bind.Addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					message := fmt.Sprintf("client %d of %s", i, a.Listener)
					if got, err := ask(c, message); err != nil || got != message {
						t.Errorf("echo of %q = %q, %v", message, got, err)
					}
				})
			}
		}
		clients.Wait()
		r.ended(3 * many)
		// All slots are free again: one listener can take all except the shares of the other two,
		// and these have theirs.
		hold := func(addr string, n int) {
			t.Helper()
			for range n {
				mustAsk(t, testnet.Dial(t, "tcp", addr), "in")
			}
		}
		hold(r.server.Addrs()[2].Bind.Addr.String(), most-2*2)
		hold(r.server.Addrs()[0].Bind.Addr.String(), 2)
		hold(r.server.Addrs()[1].Bind.Addr.String(), 2)
		if n := r.server.Connections(); n != most {
			t.Errorf("%d slots are taken, want %d", n, most)
		}
	})
}
