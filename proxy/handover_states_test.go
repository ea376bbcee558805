package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestHandOverHalfClosed moves connections on which one side has finished sending.
func TestHandOverHalfClosed(t *testing.T) {
	enginePairs(t, func(t *testing.T, from, to string) {
		for _, network := range []string{"tcp", "unix"} {
			address := ""
			if network == "unix" {
				address = t.TempDir() + "/back"
			}
			b := testnet.Listen(t, network, address)
			one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
			pair := func() (client, peer testnet.Conn) {
				client = one.dial()
				write(t, client, "hello")
				peer = b.Accept(t)
				read(t, peer, "hello")
				return client, peer
			}
			first, firstPeer := pair()
			second, secondPeer := pair()
			_ = first.CloseWrite()
			readEnd(t, firstPeer)
			_ = secondPeer.CloseWrite()
			readEnd(t, second)
			if report := one.handOver(two); report.Moved != 2 {
				t.Errorf("report: %+v", report)
			}
			write(t, firstPeer, "answer")
			read(t, first, "answer")
			firstPeer.Close()
			readEnd(t, first)
			write(t, second, "more")
			read(t, secondPeer, "more")
			second.Close()
			readEnd(t, secondPeer)
			secondPeer.Close()
			sides := map[proxy.Side]int{}
			for _, record := range two.ended(2) {
				sides[record.Side]++
			}
			if sides[proxy.SideClient] != 1 || sides[proxy.SideBackend] != 1 {
				t.Errorf("ended by %v", sides)
			}
		}
	})
}

func write(t testing.TB, c testnet.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, c testnet.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

func readEnd(t testing.TB, c testnet.Conn) {
	t.Helper()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Fatalf("read %q, %v at the end of a stream", rest, err)
	}
}

// TestHandOverQueue: clients that wait keep their order, before those that come later.
func TestHandOverQueue(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Listen(t, "tcp", "")
		one := start(t, from, addresses(b), queueing(1, 200, testnet.Patience))
		two := start(t, to, addresses(b), queueing(1, 200, testnet.Patience))
		served := one.dial()
		peer := b.Accept(t)
		const waiting = 100 // more than a batch
		var clients []testnet.Conn
		for i := range waiting {
			c := one.dial()
			write(t, c, string([]byte{byte(i)}))
			clients = append(clients, c)
			one.waiting(i + 1)
		}
		if report := one.handOver(two); report.Moved != waiting+1 || report.Left != 0 {
			t.Errorf("report: %+v", report)
		}
		one.waiting(0)
		two.waiting(waiting)
		late := two.dial()
		write(t, late, string([]byte{waiting}))
		two.waiting(waiting + 1)
		clients = append(clients, late)
		served.Close()
		peer.Close()
		for i, c := range clients {
			peer := b.Accept(t)
			read(t, peer, string([]byte{byte(i)}))
			if n := two.pool.Balancer.Members()[0].Active(); n > 1 {
				t.Errorf("%d connections on a backend that takes one", n)
			}
			c.Close()
			readEnd(t, peer)
			peer.Close()
		}
		two.ended(waiting + 2)
		one.ended(0)
	})
}

// TestHandOverQueueFails: clients whose delivery fails keep their order too.
func TestHandOverQueueFails(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), queueing(1, 200, testnet.Patience))
		served := r.dial()
		peer := b.Accept(t)
		const waiting = 80
		var clients []testnet.Conn
		for i := range waiting {
			c := r.dial()
			write(t, c, string([]byte{byte(i)}))
			clients = append(clients, c)
			r.waiting(i + 1)
		}
		ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
		defer cancel()
		if err := r.server.PauseAccepting(ctx); err != nil {
			t.Fatal(err)
		}
		report, err := r.server.HandOver(ctx, func(batch []proxy.Moved) error {
			if batch[0].Backend < 0 {
				return errNoDelivery
			}
			return &proxy.LeftError{Indexes: []int{0}}
		})
		if !errors.Is(err, errNoDelivery) || report.Moved != 0 || report.Left != waiting+1 {
			t.Errorf("report: %+v, %v", report, err)
		}
		r.server.ResumeAccepting()
		r.waiting(waiting)
		served.Close()
		peer.Close()
		for i, c := range clients {
			peer := b.Accept(t)
			read(t, peer, string([]byte{byte(i)}))
			c.Close()
			readEnd(t, peer)
			peer.Close()
		}
		r.ended(waiting + 1)
	})
}

// TestHandOverDialling: a client whose backend does not answer is dialled again in the other
// process.
func TestHandOverDialling(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, []string{testnet.Silent(t)}), start(t, to, addresses(b))
		c := one.dial()
		write(t, c, "hello")
		testnet.Eventually(t, "the backend is dialled", func() bool { return one.pool.Balancer.Members()[0].Active() == 1 })
		if report := one.handOver(two); report.Moved != 1 || report.Left != 0 {
			t.Errorf("report: %+v", report)
		}
		read(t, c, "hello")
		if n := one.pool.Balancer.Members()[0].Active(); n != 0 {
			t.Errorf("%d dials are counted", n)
		}
		c.Close()
		if record := two.endedOne(proxy.SideClient, proxy.ReasonClosed, 5, 5); record.Attempts != 1 {
			t.Errorf("%d attempts", record.Attempts)
		}
	})
}

// TestHandOverHedged: both dials for a client are withdrawn, and leave no count behind.
func TestHandOverHedged(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one := start(t, from, []string{testnet.Silent(t), testnet.Silent(t)}, func(s *setup) {
			s.pooled = func(p *proxy.Pool) { p.Hedge = 10 * time.Millisecond }
		})
		two := start(t, to, addresses(b))
		c := one.dial()
		write(t, c, "hello")
		active := func() int64 { return one.pool.Balancer.Members()[0].Active() + one.pool.Balancer.Members()[1].Active() }
		testnet.Eventually(t, "two backends are dialled", func() bool { return active() == 2 })
		if report := one.handOver(two); report.Moved != 1 || report.Left != 0 {
			t.Errorf("report: %+v", report)
		}
		read(t, c, "hello")
		testnet.Eventually(t, "no dial is counted", func() bool { return active() == 0 })
		c.Close()
		two.endedOne(proxy.SideClient, proxy.ReasonClosed, 5, 5)
	})
}

// TestHandOverOrphans: the other process has neither the listener nor the backend.
func TestHandOverOrphans(t *testing.T) {
	enginePairs(t, func(t *testing.T, from, to string) {
		b, other := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Serve(t, "tcp", "", testnet.Echo)
		one := start(t, from, addresses(b), func(s *setup) { s.listener.Name = "old" })
		two := start(t, to, addresses(other))
		c := one.dial()
		talk(t, c, "hello")
		one.handOver(two)
		talk(t, c, "moved")
		orphans := two.server.Orphans()
		if len(orphans) != 1 || orphans[0].Pool != "back" || orphans[0].Backend.Address != b.Addr || orphans[0].Backend.Active() != 1 {
			t.Fatalf("orphans: %+v", orphans)
		}
		if n := two.pool.Balancer.Members()[0].Active(); n != 0 {
			t.Errorf("%d connections are counted on another backend", n)
		}
		two.server.Evict(proxy.Evict{Backend: orphans[0].Backend, Reason: proxy.ReasonBackendRemoved})
		readEnd(t, c)
		record := two.endedOne(proxy.SideProxy, proxy.ReasonBackendRemoved, 10, 10)
		if record.Listener.Name != "old" || record.Backend.Address != b.Addr {
			t.Errorf("the record names %s and %s", record.Listener.Name, record.Backend.Address)
		}
		if counts := two.server.Counts(); counts.Orphans.Adopted != 1 || counts.Orphans.AllEnded() != 1 {
			t.Errorf("counted %+v", counts.Orphans)
		}
	})
}

// TestHandOverCancelled: the context ends in the middle. Both servers serve what they have.
func TestHandOverCancelled(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two := start(t, from, addresses(b)), start(t, to, addresses(b))
		const all = 200
		var clients []testnet.Conn
		for range all {
			c := one.dial()
			talk(t, c, "hello")
			clients = append(clients, c)
		}
		ctx, cancel := context.WithCancel(context.Background())
		deliver := deliverTo(t, two)
		report, err := one.server.HandOver(ctx, func(batch []proxy.Moved) error {
			cancel()
			return deliver(batch)
		})
		if !errors.Is(err, context.Canceled) || report.Moved == 0 || report.Moved+report.Left != all {
			t.Errorf("report: %+v, %v", report, err)
		}
		for _, c := range clients {
			talk(t, c, "again")
			c.Close()
		}
		one.ended(all - report.Moved)
		two.ended(report.Moved)
	})
}

// TestHandOverPeersLeave: both peers close, or reset, while the connection is between the
// processes.
func TestHandOverPeersLeave(t *testing.T) {
	enginePairs(t, func(t *testing.T, from, to string) {
		b := testnet.Listen(t, "tcp", "")
		one := start(t, from, addresses(b), func(s *setup) { s.options.Workers = 1 }) // so that all move at once
		two := start(t, to, addresses(b))
		var clients, peers []testnet.Conn
		for range 4 {
			c := one.dial()
			write(t, c, "hello")
			clients = append(clients, c)
			peer := b.Accept(t)
			read(t, peer, "hello")
			peers = append(peers, peer)
		}
		deliver := deliverTo(t, two)
		_, err := one.server.HandOver(context.Background(), func(batch []proxy.Moved) error {
			clients[0].Close()
			write(t, peers[1], "last words")
			peers[1].Close()
			_ = testnet.Reset(clients[2])
			_ = testnet.Reset(peers[3])
			return deliver(batch)
		})
		if err != nil {
			t.Fatal(err)
		}
		readEnd(t, peers[0])
		peers[0].Close()
		read(t, clients[1], "last words")
		for _, c := range []testnet.Conn{peers[2], clients[3]} {
			if _, err := io.ReadAll(c); !testnet.IsReset(err) {
				t.Errorf("read %v after a reset", err)
			}
		}
		clients[1].Close()
		two.ended(4)
	})
}

// TestAdoptRefuses: nothing that another process sends makes the server panic or leak.
func TestAdoptRefuses(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		file := func() int {
			fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
		datagrams, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		one := file()
		if n := r.server.Adopt([]proxy.Moved{
			{Client: -1, Backend: -1},
			{Client: -1, Backend: file()},
			{Client: file(), Backend: -1},
			{Client: file(), Backend: file()},
			{Client: one, Backend: one},
			{Client: datagrams, Backend: -1},
			{Client: 1 << 30, Backend: -1},
		}); n != 0 {
			t.Errorf("%d were adopted", n)
		}
		far := int64(1) << 62
		for i, m := range []proxy.Moved{
			{},
			{Listener: "front", Pool: "back"},
			{
				Listener: "front", Accepted: -far, Dialled: far, Connected: -far, LastActive: far, Failed: -far,
				Attempts: -7, Flags: []string{"reset_out", "nonsense", "counted", "discarding", "queued"},
				Ended: [2]string{"dead", "nonsense"}, WaitUntil: -far,
			},
			{
				Listener: "front", Flags: []string{"reset_out"}, Ended: [2]string{"fin", "fin"}, Attempts: 1 << 40,
				Outcome: proxy.MovedOutcome{Side: "x", Reason: "y", Errno: 1 << 20},
			},
			{
				Listener: "front", Parked: true, Idle: -1, HalfClose: -5, WaitUntil: far,
				Tried: make([]proxy.MovedBackend, 100), FailedDials: make([]proxy.MovedDial, 100),
			},
			{Parked: true, Peer: netip.MustParseAddrPort("192.0.2.1:1"), Pending: [2][]byte{[]byte("x"), []byte("y")}},
		} {
			for _, both := range []bool{false, true} {
				ours, theirs := socketPair(t)
				m.Client, m.Backend = ours, -1
				other := -1
				if both {
					m.Backend, other = socketPair(t)
				}
				if n := r.server.Adopt([]proxy.Moved{m}); n != 1 {
					t.Errorf("%d: %d were adopted", i, n)
				}
				unix.Close(theirs)
				if other >= 0 {
					unix.Close(other)
				}
			}
		}
		testnet.Eventually(t, "all have ended", func() bool { return r.server.Connections() == 0 })
	})
}

func socketPair(t *testing.T) (ours, theirs int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// TestPauseAccepting: clients wait in the kernel while accepting is paused, even if the pause
// begins before the server runs.
func TestPauseAccepting(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
		defer cancel()
		before := r.dial()
		talk(t, before, "before")
		for range 3 {
			if err := r.server.PauseAccepting(ctx); err != nil {
				t.Fatal(err)
			}
			c := r.dial()
			write(t, c, "waits")
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %d bytes, %v, while accepting is paused", n, err)
			}
			_ = c.SetReadDeadline(time.Now().Add(testnet.Patience))
			talk(t, before, "goes on")
			r.server.ResumeAccepting()
			read(t, c, "waits")
		}
	})
}

// TestAdoptBeforeRun: connections that arrive before the loops run are served when they do.
func TestAdoptBeforeRun(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one := start(t, engine, addresses(b))
		c := one.dial()
		talk(t, c, "hello")
		var batch []proxy.Moved
		if _, err := one.server.HandOver(context.Background(), func(moved []proxy.Moved) error {
			batch = travel(t, moved)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		write(t, c, "waits")
		two := start(t, engine, addresses(b), func(s *setup) {
			s.beforeRun = func(server *proxy.Server) {
				if n := server.Adopt(batch); n != 1 || server.Connections() != 1 {
					t.Errorf("%d adopted, %d connections", n, server.Connections())
				}
			}
		})
		read(t, c, "waits")
		c.Close()
		two.endedOne(proxy.SideClient, proxy.ReasonClosed, 10, 10)
	})
}

// TestTotalsCarryOn: the counts of the first server carry on in the second, and again in a third.
func TestTotalsCarryOn(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		one, two, three := start(t, engine, addresses(b)), start(t, engine, addresses(b)), start(t, engine, addresses(b))
		ended, stays := one.dial(), one.dial()
		talk(t, ended, "hello")
		talk(t, stays, "hello")
		ended.Close()
		one.ended(1)
		one.handOver(two)
		two.server.CarryOn(throughJSON(t, one.server.Totals()))
		talk(t, stays, "moved")
		two.handOver(three)
		three.server.CarryOn(throughJSON(t, two.server.Totals()))
		stays.Close()
		three.ended(1)
		counts := three.server.Counts()
		l, p := counts.Listeners[0], counts.Pools[0]
		if l.Accepted != 2 || l.Ended(proxy.SideClient, proxy.ReasonClosed) != 2 || l.BytesIn != 15 || l.BytesOut != 15 {
			t.Errorf("counted %+v", l)
		}
		if n := p.Dials(proxy.ReasonNone); n != 2 {
			t.Errorf("%d answered dials", n)
		}
		if l.Durations.Count() != 2 || p.DialTimes.Count() != 2 {
			t.Errorf("%d durations, %d times of dials", l.Durations.Count(), p.DialTimes.Count())
		}
		for _, r := range []*running{two, three} {
			r.server.CarryOn(proxy.Totals{}) // for the check at the end
		}
	})
}

func throughJSON[T any](t testing.TB, value T) (read T) {
	text, err := json.Marshal(value)
	if err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Error(err)
	}
	return read
}

// TestHandOverDiscarding: the first FIN ends the connection (CloseOnFIN). It moves while the
// backend has yet to read what the client sent before, and what the backend sends is discarded.
func TestHandOverDiscarding(t *testing.T) {
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Listen(t, "tcp", "")
		closes := func(s *setup) { s.listener.CloseOnFIN = true }
		one, two := start(t, from, addresses(b), closes), start(t, to, addresses(b), closes)
		c := one.dial()
		peer := b.Accept(t)
		_ = peer.SetReadBuffer(4 << 10)
		const size = 50_000
		stream := testnet.Stream(1)
		if err := stream.Send(c, size, 10_000); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		readEnd(t, c) // the proxy passes a FIN to the client too
		for _, end := range [][2]*running{{one, two}, {two, one}, {one, two}} {
			if report := end[0].handOver(end[1]); report.Moved != 1 {
				t.Fatalf("report: %+v", report)
			}
			write(t, peer, "is discarded")
		}
		if err := stream.CheckExactly(peer, size, 10_000); err != nil {
			t.Error(err)
		}
		peer.Close()
		two.endedOne(proxy.SideClient, proxy.ReasonClosed, size, 0)
	})
}

// TestSetListeningWhilePaused: a listener that is closed while accepting is paused is closed when
// the pause is over, and not before.
func TestSetListeningWhilePaused(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
		defer cancel()
		pause := func() {
			t.Helper()
			if err := r.server.PauseAccepting(ctx); err != nil {
				t.Fatal(err)
			}
		}
		l := r.state.Listeners[0]
		pause()
		r.server.SetListening(l, false)
		c := r.dial() // still waits in the kernel
		r.server.ResumeAccepting()
		talk(t, c, "accepted before the listener was closed")
		refused := func() bool {
			c, err := testnet.TryDial("tcp", r.addr)
			if err == nil {
				c.Close()
			}
			return errors.Is(err, unix.ECONNREFUSED)
		}
		testnet.Eventually(t, "clients are refused", refused)
		pause()
		r.server.SetListening(l, true)
		if !refused() {
			t.Error("the listener is open before the pause is over")
		}
		r.server.ResumeAccepting()
		testnet.Eventually(t, "clients are accepted", func() bool { return !refused() })
	})
}

// TestReleaseListening: the sockets are closed here without a word to the clients in their queues,
// and the server can still end.
func TestReleaseListening(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := t.TempDir() + "/front"
		r := start(t, engine, addresses(b), func(s *setup) { s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: path}) })
		ctx, cancel := context.WithTimeout(context.Background(), testnet.Patience)
		defer cancel()
		sockets, err := r.server.ListeningSockets()
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.CloseSockets(sockets)
		if err := r.server.PauseAccepting(ctx); err != nil {
			t.Fatal(err)
		}
		waits := r.dial()
		r.server.ReleaseListening()
		if left := r.server.Drain(ctx, testnet.Patience); left != 0 {
			t.Errorf("%d connections left", left)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		_ = waits.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := waits.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the client that waits reads %v", err)
		}
	})
}
