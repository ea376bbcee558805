package proxy_test

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"l4proxy/acl"
	"l4proxy/balancer"
	"l4proxy/clientlimit"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// perClient limits each client of the listener.
func perClient(limits clientlimit.Limits, with acl.Action) func(*setup) {
	return func(s *setup) {
		s.listener.Clients = clientlimit.New(clientlimit.Prefixes{IPv4: 32, IPv6: 64})
		s.listener.Clients.SetLimits(limits)
		s.listener.OverLimit = with
	}
}

// overLimit dials from an address, and expects that the client is refused, and how it sees that. A
// reset may come before connect(2) has returned.
func overLimit(t *testing.T, from, address string, with acl.Action) {
	t.Helper()
	var got []byte
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", address)
	if err == nil {
		defer c.Close()
		got, err = io.ReadAll(c)
	}
	switch with {
	case acl.Reset:
		if len(got) > 0 || !testnet.IsReset(err) {
			t.Errorf("read %q, %v, want a reset", got, err)
		}
	case acl.Close:
		if len(got) > 0 || err != nil {
			t.Errorf("read %q, %v, want EOF", got, err)
		}
	case acl.Message:
		if string(got) != denyText || err != nil {
			t.Errorf("read %q, %v, want the message", got, err)
		}
	}
}

// TestPerClientConnections: a client that has all its connections is refused further ones, in the
// way that the listener says, and others are served. When one of them has ended, it gets another.
func TestPerClientConnections(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, with := range []acl.Action{acl.Reset, acl.Close, acl.Message} {
			t.Run(with.String(), func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				socket := filepath.Join(t.TempDir(), "front")
				r := start(t, engine, addresses(b), perClient(clientlimit.Limits{Connections: 2}, with), func(s *setup) {
					s.listener.Binds = append(s.listener.Binds, listen.Bind{Addr: netip.MustParseAddrPort("[::1]:0")}, listen.Bind{Path: socket})
				})
				one, two := testnet.DialFrom(t, "127.0.0.2", r.addr), testnet.DialFrom(t, "127.0.0.2", r.addr)
				mustAsk(t, one, "one")
				mustAsk(t, two, "two")
				overLimit(t, "127.0.0.2", r.addr, with)
				record := r.endedOne(proxy.SideProxy, proxy.ReasonClientConnections, 0, 0)
				if record.Rule != "per_client.connections" || record.Attempts != 0 {
					t.Errorf("rule %q, %d attempts", record.Rule, record.Attempts)
				}
				mustAsk(t, testnet.DialFrom(t, "127.0.0.3", r.addr), "another client")
				six := addressOf(r.server.Addrs()[1].Bind)
				mustAsk(t, testnet.Dial(t, "tcp", six), "over IPv6")
				mustAsk(t, testnet.Dial(t, "tcp", six), "over IPv6")
				overLimit(t, "::1", six, with)
				for range 3 {
					mustAsk(t, testnet.Dial(t, "unix", socket), "no address, no limit")
				}
				one.Close()
				r.ended(3)
				mustAsk(t, testnet.DialFrom(t, "127.0.0.2", r.addr), "again")
				of := r.server.Counts().Listeners[0]
				if connections, rate := of.OverLimits(); connections != 2 || rate != 0 || of.Denied() != 2 {
					t.Errorf("refused %d and %d, denied %v", connections, rate, of.Rules)
				}
			})
		}
	})
}

func TestPerClientRate(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), perClient(clientlimit.Limits{Rate: 1.0 / 3600, Burst: 3}, acl.Reset))
		for i := range 3 {
			c := testnet.DialFrom(t, "127.0.0.2", r.addr)
			mustAsk(t, c, "within the burst")
			c.Close()
			r.ended(i + 1)
		}
		overLimit(t, "127.0.0.2", r.addr, acl.Reset)
		if last := r.ended(4)[3]; !last.Is(proxy.SideProxy, proxy.ReasonClientRate) || last.Rule != "per_client.rate" {
			t.Errorf("%v by rule %q", last.Outcome, last.Rule)
		}
		mustAsk(t, testnet.DialFrom(t, "127.0.0.3", r.addr), "another client")
	})
}

// TestPerClientOnSeveralLoops: a client opens many connections at once, which several loops accept.
// Exactly as many as it may have are served.
func TestPerClientOnSeveralLoops(t *testing.T) {
	const most, many = 5, 60
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), perClient(clientlimit.Limits{Connections: most}, acl.Reset),
			func(s *setup) { s.options.Workers = 4 })
		var served atomic.Int64
		var all, asked sync.WaitGroup
		over := make(chan struct{})
		for range many {
			asked.Add(1)
			all.Go(func() {
				c, err := testnet.TryDial("tcp", r.addr)
				if err == nil {
					defer c.Close()
					if got, err := ask(c, "hello"); err == nil && got == "hello" {
						served.Add(1)
					}
				}
				asked.Done()
				<-over
			})
		}
		asked.Wait()
		if n := served.Load(); n != most {
			t.Errorf("%d connections of one client are served, want %d", n, most)
		}
		close(over)
		all.Wait()
		r.ended(many)
		mustAsk(t, r.dial(), "again")
	})
}

// TestPerClientMoves: a connection that moves to another server counts there, beyond the limit too,
// and no longer here.
func TestPerClientMoves(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one := start(t, engine, addresses(b), perClient(clientlimit.Limits{Connections: 2}, acl.Reset))
		two := start(t, engine, addresses(b), perClient(clientlimit.Limits{Connections: 1}, acl.Reset))
		first, second := one.dial(), one.dial()
		talk(t, first, "hello")
		talk(t, second, "hello")
		one.handOver(two)
		overLimit(t, "127.0.0.1", two.addr, acl.Reset)
		mustAsk(t, one.dial(), "the client has no connection here any more")
		first.Close()
		two.ended(2)
		overLimit(t, "127.0.0.1", two.addr, acl.Reset)
		second.Close()
		two.ended(4)
		mustAsk(t, two.dial(), "the last one has ended")
	})
}

// TestPoolLimitHolds: there are more clients than connections that the pool may have, and several
// backends. The clients wait, and all are served.
func TestPoolLimitHolds(t *testing.T) {
	const most, many = 3, 60
	engines(t, func(t *testing.T, engine string) {
		b1, b2 := serveCrowded(t, testnet.Echo), serveCrowded(t, testnet.Echo)
		r := start(t, engine, addresses(b1.Backend, b2.Backend), queueing(0, many, testnet.Patience), func(s *setup) {
			balance := s.balance
			s.balance = func(o *balancer.Options) {
				balance(o)
				o.MaxConnections = most
			}
		})
		var all sync.WaitGroup
		for range many {
			all.Go(func() {
				c, err := testnet.TryDial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if got, err := ask(c, "hello"); err != nil || got != "hello" {
					t.Errorf("echo = %q, %v", got, err)
				}
				if n := b1.open.Load() + b2.open.Load(); n > most {
					t.Errorf("the backends have %d connections", n)
				}
			})
		}
		all.Wait()
		r.ended(many)
		if n := r.pool.Balancer.Stats().Connections; n != 0 {
			t.Errorf("%d connections are counted", n)
		}
	})
}
