package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/acl"
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/clientlimit"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
)

// TestNothingLeaks lets clients come, ask, leave and reset in any order. Meanwhile, second dials
// are made, connections are evicted, the listener closes and opens, and slots, queue and backends
// run short. When all connections have ended, nothing is counted any more: no slot, no load, no
// connection of a backend, no index. Each client has left one record.
func TestNothingLeaks(t *testing.T) {
	insideEnginesTogether(t, func(t *testing.T, engine string) {
		t.Run("clients leave", func(t *testing.T) {
			in := startShort(t, engine, QueueClient)
			play(in, func() {})
			in.nothingLeft()
		})
		t.Run("the server ends all", func(t *testing.T) {
			in := startShort(t, engine, ResetClient)
			play(in, func() {
				in.server.StopAccepting()
				in.server.EndAll(ReasonStopped)
				testnet.Eventually(t, "the sockets are closed", func() bool { return in.server.listening.Load() == 0 })
			})
			in.nothingLeft()
		})
		t.Run("the server stops", func(t *testing.T) {
			in := startShort(t, engine, MessageClient)
			play(in, in.stop)
			in.accountedFor()
		})
	})
}

// startShort runs a server that is short of everything, with good and bad backends.
func startShort(t *testing.T, engine string, noBackend NoBackend) *inside {
	echo := testnet.Serve(t, "tcp", "", testnet.Echo)
	closing := testnet.Serve(t, "tcp", "", func(testnet.Conn) {})
	echoUnix := testnet.Serve(t, "unix", t.TempDir()+"/echo", testnet.Echo)
	return startInside(t, engine, echo, func(l *Listener, o *Options) {
		o.clock, o.Workers, o.MaxConnections = nil, 3, 30
		p := insidePool(t, balancer.Options{Policy: "random"}, echo.Addr, testnet.Silent(t), testnet.Refusing(t), closing.Addr)
		members := p.Balancer.Members()
		for _, path := range []string{echoUnix.Addr, fullQueue(t)} {
			sa, err := rawsys.UnixSockaddr(path)
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, balancer.Member{Backend: &backend.Backend{Address: path, Sockaddr: sa}, Weight: 1})
		}
		for i := range members {
			members[i].MaxConnections = 6
		}
		p.ConnectTimeout, p.Attempts, p.Hedge = 15*time.Millisecond, 3, time.Millisecond
		p.QueueTimeout, p.FirstByte = 30*time.Millisecond, 20*time.Millisecond
		p.SendProxy = &SendProxy{Version: 2, UniqueID: true}
		p.balanceOver(t, members, balancer.Options{Policy: "random", Queue: 10, Seed: 1, MaxConnections: 20})
		l.Pool, l.NoBackend, l.Slots = p, noBackend, NewSlots(25)
		l.Clients = clientlimit.New(clientlimit.Prefixes{IPv4: 32, IPv6: 64})
		l.Clients.SetLimits(clientlimit.Limits{Connections: 4, Rate: 500, Burst: 20})
		l.DenyMessage = []byte("denied")
		var rules []acl.Rule
		for i, action := range []acl.Action{acl.Message, acl.Close, acl.Reset} {
			from := netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}), 32)
			rules = append(rules, acl.Rule{Name: action.String(), Action: action, Prefixes: []netip.Prefix{from}})
		}
		l.ACL = acl.Build(rules, true)
		header := acl.Rule{Allow: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.6/31")}}
		l.ProxyFrom, l.Handshake = &ProxyFrom{Networks: acl.Build([]acl.Rule{header}, false)}, 20*time.Millisecond
		l.Binds = append(l.Binds, listen.Bind{Path: t.TempDir() + "/front"})
	})
}

// fullQueue is a unix socket that has no room for another client.
func fullQueue(t *testing.T) (path string) {
	path = t.TempDir() + "/full"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	testnet.Dial(t, "unix", path)
	return path
}

// play runs clients and an administrator for a while, and then calls end while they still run.
func play(in *inside, end func()) {
	const clients, span = 24, 400 * time.Millisecond
	var over atomic.Bool
	var players sync.WaitGroup
	for i := range clients {
		players.Go(func() {
			for r := rand.New(rand.NewPCG(1, uint64(i))); !over.Load(); {
				visit(in, r)
			}
		})
	}
	players.Go(func() {
		for r := rand.New(rand.NewPCG(2, 0)); !over.Load(); {
			meddle(in, r)
		}
		in.server.SetListening(in.listener(), true)
	})
	time.Sleep(span) // the length of the load: no result depends on it
	end()
	over.Store(true)
	players.Wait()
}

// visit is what one client does.
func visit(in *inside, r *rand.Rand) {
	network, address, dialer := "tcp", in.addr, net.Dialer{}
	if r.IntN(5) == 0 {
		network, address = "unix", in.server.Addrs()[1].Bind.Path
	} else {
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(5+r.IntN(9)))}
	}
	c, err := dialer.Dial(network, address)
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Duration(r.IntN(60)) * time.Millisecond))
	if r.IntN(2) == 0 { // 127.0.0.6 and 127.0.0.7 must send a header, which may name a denied client
		first := fmt.Sprintf("PROXY TCP4 127.0.0.%d 127.0.0.1 1 2\r\n", 5+r.IntN(9))
		_, _ = c.Write([]byte(first[:1+r.IntN(len(first))]))
	}
	if r.IntN(3) > 0 {
		_, _ = c.Write(make([]byte, 1<<r.IntN(18)))
	}
	if r.IntN(3) > 0 {
		_, _ = c.Read(make([]byte, 1<<r.IntN(18)))
	}
	if tcp, ok := c.(*net.TCPConn); ok && r.IntN(3) == 0 {
		_ = tcp.SetLinger(0)
	}
}

// meddle is what one step of an administrator does.
func meddle(in *inside, r *rand.Rand) {
	s, pause := in.server, func() { time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond) }
	pause()
	b := in.listener().Pool.Balancer.Members()[r.IntN(len(in.listener().Pool.Balancer.Members()))].Backend
	switch r.IntN(4) {
	case 0:
		s.Evict(Evict{Backend: b, Reason: ReasonBackendDown, Reset: r.IntN(2) == 0, Over: time.Duration(r.IntN(20)) * time.Millisecond})
	case 1:
		s.Evict(Evict{Backend: b, Reason: ReasonBackendRecovered, After: 5 * time.Millisecond})
	case 2:
		s.SetListening(in.listener(), false)
		pause()
		s.SetListening(in.listener(), true)
	case 3:
		for _, i := range s.Idle(b, 0, 3) {
			s.EndIdle(i, ReasonRebalanced)
		}
	}
}

// nothingLeft checks that nothing of any connection is left, once all have ended.
func (in *inside) nothingLeft() {
	t, s, l := in.t, in.server, in.listener()
	t.Helper()
	testnet.Eventually(t, "all connections have ended", func() bool { return s.Connections() == 0 })
	for _, w := range s.workers {
		in.eventually(w, "all tasks have ended except for the sockets and the looks", func() bool {
			return len(w.tasks) == len(w.sockets)+1
		})
		in.on(w, func() {
			if w.lingering != 0 || w.closing != 0 || w.load.Load() != 0 {
				t.Errorf("loop %d: lingering, closing, load = %d, %d, %d, want 0", w.number, w.lingering, w.closing, w.load.Load())
			}
			free := make(map[uint32]bool)
			for _, i := range w.free {
				if free[i] || w.tasks[i] != nil || w.conn(i).state != stateNone {
					t.Errorf("loop %d: index %d is not free", w.number, i)
				}
				free[i] = true
			}
			if n := len(free) + len(w.tasks); n != int(w.indices()) {
				t.Errorf("loop %d: %d of %d indices are free or a task's", w.number, n, w.indices())
			}
			for _, socket := range w.sockets {
				if len(socket.parked) > 0 {
					t.Errorf("loop %d: %d clients are parked", w.number, len(socket.parked))
				}
			}
		})
	}
	for name, n := range map[string]int64{
		"slots": s.slots.all.Used(), "slots of the listener": l.Slots.Used(), "common slots": s.slots.common.Used(),
		"slotless": s.slotless.Load(), "retrying": s.retrying.Load(),
	} {
		if n != 0 {
			t.Errorf("%s: %d, want 0", name, n)
		}
	}
	if n := l.Clients.Clients(); n != 0 {
		t.Errorf("%d clients are counted", n)
	}
	for _, m := range l.Pool.Balancer.Members() {
		testnet.Eventually(t, "no connection is counted on "+m.Address, func() bool { return m.Active() == 0 })
	}
	if n := l.Pool.Balancer.Stats().Connections; n != 0 {
		t.Errorf("the pool counts %d connections", n)
	}
	if n := l.Pool.Hedges.spent.Load(); n < 0 || n > hedgeSaved {
		t.Errorf("hedges spent = %d, want 0 to %d", n, hedgeSaved)
	}
	in.accountedFor()
}

// accountedFor checks that each client has left one record. All have ended.
func (in *inside) accountedFor() {
	t, s := in.t, in.server
	t.Helper()
	of := s.Counts().Listeners[0]
	if of.Accepted != of.AllEnded() {
		t.Errorf("%d clients were accepted, %d have ended", of.Accepted, of.AllEnded())
	}
	testnet.Eventually(t, "each client has left a record", func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		return uint64(len(in.records))+s.Dropped() == of.Accepted
	})
}
