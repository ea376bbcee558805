package proxy_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// tcpBind is a TCP address to listen on.
func tcpBind(address string) listen.Bind {
	return listen.Bind{Addr: netip.MustParseAddrPort(address)}
}

// listenerOf is a listener in front of a pool.
func listenerOf(name string, pool *proxy.Pool, binds ...listen.Bind) *proxy.Listener {
	return &proxy.Listener{Name: name, Binds: binds, Pool: pool, Slots: proxy.NewSlots(0)}
}

// poolOf is a pool with a name.
func poolOf(t testing.TB, name string, b *testnet.Backend) *proxy.Pool {
	t.Helper()
	p := (&setup{backends: []string{b.Addr}, policy: "least_conn", timeout: testnet.Patience, attempts: 1}).pool(t)
	p.Name = name
	return p
}

// greets is a backend that sends its name and then echoes.
func greets(t testing.TB, name string) *testnet.Backend {
	t.Helper()
	return testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
		_, _ = io.WriteString(c, name)
		testnet.Echo(c)
	})
}

// greeting reads the name that a backend of greets sends.
func greeting(t testing.TB, c testnet.Conn) string {
	t.Helper()
	p := make([]byte, 1)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatalf("no greeting: %v", err)
	}
	return string(p)
}

// apply puts listeners into service.
func (r *running) apply(most int, listeners ...*proxy.Listener) {
	r.t.Helper()
	if err := r.server.Apply(&proxy.State{Listeners: listeners}, most); err != nil {
		r.t.Fatal(err)
	}
}

// removed waits until the sockets of removed addresses are closed.
func (r *running) removed() {
	r.t.Helper()
	all, err := r.server.ListeningSockets()
	if err != nil {
		r.t.Fatal(err)
	}
	defer proxy.CloseSockets(all)
	n := 0
	for _, one := range all {
		n += len(one.FDs)
	}
	testnet.Eventually(r.t, "the removed sockets are closed", func() bool { return r.server.OpenListeningSockets() == n })
}

// visit makes a connection, which must echo. It reports false if there is none.
func (r *running) visit() bool {
	c, err := testnet.TryDial("tcp", r.addr)
	if err != nil {
		r.t.Error(err)
		return false
	}
	defer c.Close()
	if got, err := ask(c, "hello"); err != nil || got != "hello" {
		r.t.Errorf("echo = %q, %v", got, err)
	}
	return true
}

// again is the first listener, as another State has it. It shares what is live.
func (r *running) again() *proxy.Listener {
	l := *r.state.Listeners[0]
	return &l
}

// TestApplyKeepsTheQueue: clients wait in the accept queue while States follow each other. They are
// served with the last one.
func TestApplyKeepsTheQueue(t *testing.T) {
	const waiting = 20
	engines(t, func(t *testing.T, engine string) {
		old, next := greets(t, "o"), greets(t, "n")
		r := start(t, engine, addresses(old), func(s *setup) { s.options.MaxConnections = 1 })
		holder := r.dial()
		greeting(t, holder)
		var clients []testnet.Conn
		for range waiting {
			clients = append(clients, r.dial())
		}
		pool := poolOf(t, "next", next)
		for range 10 {
			l := r.again()
			l.Pool = pool
			r.apply(1, l)
		}
		l := r.again()
		l.Pool = pool
		r.apply(100, l) // the new limit has room for them
		served := map[string]int{}
		for _, c := range clients {
			served[greeting(t, c)]++
		}
		// A multishot accept may have accepted a few of them before.
		if served["n"] < waiting-8 || served["n"]+served["o"] != waiting {
			t.Errorf("served %v, want nearly all of %d with the new State", served, waiting)
		}
		mustAsk(t, holder, "still here")
	})
}

// TestApplyLeavesConnectionsAlone: a connection outlives 100 States, and ends as one of its first
// listener and pool.
func TestApplyLeavesConnectionsAlone(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		c := r.dial()
		mustAsk(t, c, "before")
		for i := range 100 {
			l := r.again()
			l.Idle = time.Duration(i+1) * time.Hour
			r.apply(0, l)
			mustAsk(t, c, fmt.Sprintf("after %d", i))
		}
		c.Close()
		if record := r.ended(1)[0]; record.Listener != r.state.Listeners[0] || record.Pool != r.pool {
			t.Error("the connection has changed its listener or its pool")
		}
	})
}

// TestApplyRemovesListener: the address of a removed listener refuses clients, its file is gone,
// and its connections carry on and are counted. Once they have ended, its counts are gone.
func TestApplyRemovesListener(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := filepath.Join(t.TempDir(), "socket")
		r := start(t, engine, addresses(b), func(s *setup) {
			s.more = []*proxy.Listener{{Name: "removed", Binds: []listen.Bind{tcpBind("127.0.0.1:0"), {Path: path}}}}
		})
		r.removes = true
		addr := addressOf(r.server.Addrs()[1].Bind)
		clients := []testnet.Conn{testnet.Dial(t, "tcp", addr), testnet.Dial(t, "unix", path)}
		for _, c := range clients {
			mustAsk(t, c, "before")
		}
		r.apply(0, r.again())
		r.removed()
		if c, err := testnet.TryDial("tcp", addr); err == nil {
			c.Close()
			t.Error("the removed listener still accepts")
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket file is still there: %v", err)
		}
		r.apply(0, r.again())
		for _, c := range clients {
			mustAsk(t, c, "after")
		}
		counts := r.server.Counts().Listeners
		if len(counts) != 2 || counts[1].Listener.Name != "removed" || counts[1].Accepted != 2 {
			t.Fatalf("counts of the removed listener are missing: %+v", counts)
		}
		for _, c := range clients {
			c.Close()
		}
		r.ended(2)
		if counts := r.server.Counts().Listeners; len(counts) != 1 {
			t.Errorf("counts = %+v, want only those of the listener that stays", counts)
		}
	})
}

// TestApplyServesTheQueueOfARemovedListener: clients have connected, and no slot is free for them
// when their listener is removed. They are served as its clients.
func TestApplyServesTheQueueOfARemovedListener(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		old, other := greets(t, "o"), greets(t, "x")
		r := start(t, engine, addresses(old), func(s *setup) { s.options.MaxConnections = 1 })
		r.removes = true
		holder := r.dial()
		greeting(t, holder)
		waits := []testnet.Conn{r.dial(), r.dial(), r.dial()}
		r.apply(1, listenerOf("other", poolOf(t, "other", other), tcpBind("127.0.0.2:0")))
		holder.Close()
		var all sync.WaitGroup
		for _, c := range waits {
			all.Go(func() {
				p := make([]byte, 1)
				if _, err := io.ReadFull(c, p); err != nil || string(p) != "o" {
					t.Errorf("served by %q, %v", p, err)
				}
				c.Close()
			})
		}
		all.Wait()
		for _, record := range r.ended(4) {
			if record.Listener.Name != "front" {
				t.Errorf("served by listener %s", record.Listener.Name)
			}
		}
	})
}

// TestApplyFails: one address cannot be opened. Nothing has changed: not the addresses before it,
// not the mode of a socket file, not a limit, and no descriptor is left.
func TestApplyFails(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b, taken := greets(t, "o"), testnet.Listen(t, "tcp", "")
		dir := t.TempDir()
		r := start(t, engine, addresses(b), func(s *setup) {
			s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: filepath.Join(dir, "kept")})
			s.listener.Access = &listen.Access{Mode: 0o600, User: -1, Group: -1}
		})
		greeting(t, r.dial())
		l := r.again()
		l.Access = &listen.Access{Mode: 0o666, User: -1, Group: -1}
		bad := tcpBind(taken.Addr)
		bad.Place = "config.yaml:7:9"
		files := testnet.OpenFiles(t)
		err := r.server.Apply(&proxy.State{Listeners: []*proxy.Listener{
			l, listenerOf("new", r.pool, tcpBind("127.0.0.1:0"), listen.Bind{Path: filepath.Join(dir, "new")}, bad),
		}}, 1)
		if err == nil || !strings.HasPrefix(err.Error(), "config.yaml:7:9: listener new: cannot listen on "+taken.Addr) {
			t.Errorf("error = %v", err)
		}
		if n := testnet.OpenFiles(t); n != files {
			t.Errorf("%d descriptors are open, want %d", n, files)
		}
		if _, err := os.Lstat(filepath.Join(dir, "new")); !os.IsNotExist(err) {
			t.Errorf("the new socket file is still there: %v", err)
		}
		if info, err := os.Lstat(filepath.Join(dir, "kept")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of the kept file: %v, %v", info.Mode(), err)
		}
		if n := len(r.server.Addrs()); n != 2 {
			t.Errorf("%d addresses, want 2", n)
		}
		for range 3 {
			greeting(t, r.dial()) // there is no limit
		}
	})
}

// TestApplyChangesAccess changes the mode of a unix socket while clients are connected.
func TestApplyChangesAccess(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		path := filepath.Join(t.TempDir(), "socket")
		r := start(t, engine, addresses(greets(t, "o")), func(s *setup) { s.listener.Binds = []listen.Bind{{Path: path}} })
		mode := func() os.FileMode {
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			return info.Mode().Perm()
		}
		first := mode()
		for _, want := range []os.FileMode{0o660, 0o600, 0} {
			l := r.again()
			if l.Access = (&listen.Access{Mode: uint32(want), User: -1, Group: -1}); want == 0 {
				l.Access, want = nil, first
			}
			r.apply(0, l)
			if got := mode(); got != want {
				t.Errorf("mode = %v, want %v", got, want)
			}
			greeting(t, testnet.Dial(t, "unix", path))
		}
	})
}

// TestSharedSocketOutlivesTheServer: another program keeps a listening socket open, as systemd does
// with that of a socket unit. When the server has closed its own descriptor, new clients wait in
// the queue, also if the listener was drained.
func TestSharedSocketOutlivesTheServer(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, drained := range []bool{false, true} {
			var config net.ListenConfig
			config.SetMultipathTCP(false)
			free, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			free.Close() // shutdown(2) gives a port back that the kernel has chosen
			l, err := config.Listen(t.Context(), "tcp", free.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			file, err := l.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			addr := l.Addr().String()
			r := start(t, engine, addresses(greets(t, "o")), func(s *setup) {
				s.listener.Binds = []listen.Bind{tcpBind(addr)}
				s.options.KeepFile = func(string, listen.Bind) bool { return true }
				s.options.Inherited = func(string, listen.Bind) []int {
					fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
					if err != nil {
						t.Fatal(err)
					}
					return []int{fd}
				}
			})
			greeting(t, testnet.Dial(t, "tcp", addr))
			if drained {
				r.server.DrainListener("front", true)
				testnet.Eventually(t, "it refuses clients", func() bool { return listeningSockets(t, addr) == 0 })
			}
			r.server.StopAccepting()
			testnet.Eventually(t, "the sockets are closed", func() bool { return r.server.OpenListeningSockets() == 0 })
			c, err := net.DialTimeout("tcp", addr, time.Second/2)
			if err != nil {
				t.Errorf("drained %v: %v", drained, err)
				continue
			}
			c.Close()
		}
	})
}

// TestApplyOpensLostSockets: a unix socket whose file was removed, or replaced by one on which no
// process listens, can be reached again. If another process listens there, Apply fails.
func TestApplyOpensLostSockets(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		path := filepath.Join(t.TempDir(), "socket")
		r := start(t, engine, addresses(greets(t, "o")), func(s *setup) { s.listener.Binds = []listen.Bind{{Path: path}} })
		r.removes = true
		kept := testnet.Dial(t, "unix", path)
		greeting(t, kept)
		replace := func() net.Listener {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return l
		}
		other := replace()
		defer other.Close()
		if err := r.server.Apply(&proxy.State{Listeners: []*proxy.Listener{r.again()}}, 0); err == nil ||
			!strings.Contains(err.Error(), "another program listens there") {
			t.Errorf("error = %v", err)
		}
		other.Close()
		for _, lose := range []func(){func() {}, func() { _ = os.Remove(path) }, func() { replace().Close() }} {
			lose()
			r.apply(0, r.again())
			r.removed()
			greeting(t, testnet.Dial(t, "unix", path))
		}
		mustAsk(t, kept, "still here")
	})
}

// TestApplySwaps: two listeners exchange their addresses, and one is renamed. The clients in the
// queues are served by the listener that has the address now.
func TestApplySwaps(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		a, b := poolOf(t, "a", greets(t, "a")), poolOf(t, "b", greets(t, "b"))
		r := start(t, engine, nil, func(s *setup) {
			s.listener.Pool = a
			s.more = []*proxy.Listener{{Name: "second", Pool: b, Binds: []listen.Bind{tcpBind("127.0.0.1:0")}}}
			s.backends = []string{testnet.Refusing(t)}
		})
		r.removes = true
		first, second := r.server.Addrs()[0].Bind, r.server.Addrs()[1].Bind
		check := func(what, onFirst, onSecond string) {
			t.Helper()
			for bind, want := range map[listen.Bind]string{first: onFirst, second: onSecond} {
				if got := greeting(t, testnet.Dial(t, "tcp", addressOf(bind))); got != want {
					t.Errorf("%s: %s is served by %q, want %q", what, bind, got, want)
				}
			}
		}
		check("at first", "a", "b")
		sockets := inodes(t, r)
		r.apply(0, listenerOf("front", a, second), listenerOf("second", b, first))
		check("swapped", "b", "a")
		r.apply(0, listenerOf("renamed", b, first), listenerOf("front", a, second))
		check("renamed", "b", "a")
		if now := inodes(t, r); fmt.Sprint(now) != fmt.Sprint(sockets) {
			t.Errorf("listening sockets %v became %v", sockets, now)
		}
	})
}

// inodes identifies the listening sockets of each address.
func inodes(t *testing.T, r *running) map[string][]string {
	t.Helper()
	all, err := r.server.ListeningSockets()
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.CloseSockets(all)
	sockets := make(map[string][]string)
	for _, one := range all {
		for _, fd := range one.FDs {
			link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err != nil {
				t.Fatal(err)
			}
			sockets[one.Addr.String()] = append(sockets[one.Addr.String()], link)
		}
	}
	for _, of := range sockets {
		slices.Sort(of)
	}
	return sockets
}

// TestApplyOverlapping: addresses of one port follow each other that could not be opened beside
// each other by two processes. After each step, clients of both families reach the listener that
// the State says, and a connection of the first State is still alive.
func TestApplyOverlapping(t *testing.T) {
	steps := []struct{ binds [2]string }{ // of listeners a and b; "" for none
		{[2]string{"[::]", ""}},
		{[2]string{"[::]", "0.0.0.0"}},
		{[2]string{"[::]", ""}},
		{[2]string{"0.0.0.0", "[::]"}},
		{[2]string{"", "[::]"}},
		{[2]string{"[::]", "0.0.0.0"}}, // now from sockets for IPv6 only
		{[2]string{"[::]", ""}},
		{[2]string{"127.0.0.1", "[::1]"}},
		{[2]string{"0.0.0.0", ""}},
		{[2]string{"", "127.0.0.1"}},
		{[2]string{"[::]", ""}},
		{[2]string{"0.0.0.0", "[::]"}},
	}
	serves := func(binds [2]string, hosts ...string) string {
		for _, host := range hosts {
			for i, b := range binds {
				if b == host {
					return string(rune('a' + i))
				}
			}
		}
		return ""
	}
	engines(t, func(t *testing.T, engine string) {
		if c, err := net.Listen("tcp6", "[::1]:0"); err != nil {
			t.Skip(err)
		} else {
			c.Close()
		}
		pools := [2]*proxy.Pool{poolOf(t, "a", greets(t, "a")), poolOf(t, "b", greets(t, "b"))}
		// No client of another program may use the port: the wildcards could not be bound then.
		port := testnet.FreePort(t)
		r := start(t, engine, nil, func(s *setup) {
			s.backends = []string{testnet.Refusing(t)}
			s.listener.Binds = []listen.Bind{tcpBind(fmt.Sprintf("[::]:%d", port))}
			s.listener.Name, s.listener.Pool = "a", pools[0]
		})
		r.removes = true
		alive := testnet.Dial(t, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		greeting(t, alive)
		for i, step := range steps {
			var listeners []*proxy.Listener
			for j, host := range step.binds {
				if host != "" {
					listeners = append(listeners, listenerOf(string(rune('a'+j)), pools[j], tcpBind(fmt.Sprintf("%s:%d", host, port))))
				}
			}
			r.apply(0, listeners...)
			r.removed()
			for client, want := range map[string]string{
				"127.0.0.1": serves(step.binds, "127.0.0.1", "0.0.0.0", "[::]"),
				"[::1]":     serves(step.binds, "[::1]", "[::]"),
			} {
				for range 4 { // more than there are loops
					c, err := testnet.TryDial("tcp", fmt.Sprintf("%s:%d", client, port))
					if got := err == nil; got != (want != "") {
						t.Fatalf("step %d %v: %s connects: %v", i, step.binds, client, err)
					}
					if err != nil {
						break
					}
					if got := greeting(t, c); got != want {
						t.Errorf("step %d %v: %s is served by %q, want %q", i, step.binds, client, got, want)
					}
					c.Close()
				}
			}
			mustAsk(t, alive, "alive")
		}
	})
}

// TestApplyBeforeRun changes the State before the loops run. A client in the queue of a removed
// listener is served.
func TestApplyBeforeRun(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		pool := poolOf(t, "old", greets(t, "o"))
		server, err := proxy.Listen(&proxy.State{Listeners: []*proxy.Listener{listenerOf("old", pool, tcpBind("127.0.0.1:0"))}},
			proxy.Options{Engine: engine, Workers: 2, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		old := testnet.Dial(t, "tcp", addressOf(server.Addrs()[0].Bind))
		next := &proxy.State{Listeners: []*proxy.Listener{listenerOf("new", poolOf(t, "new", greets(t, "n")), tcpBind("127.0.0.2:0"))}}
		if err := server.Apply(next, 0); err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- server.Run(t.Context()) }()
		if got := greeting(t, old); got != "o" {
			t.Errorf("the client of the old listener is served by %q", got)
		}
		if got := greeting(t, testnet.Dial(t, "tcp", addressOf(server.Addrs()[0].Bind))); got != "n" {
			t.Errorf("the client of the new listener is served by %q", got)
		}
		server.Stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := server.Apply(next, 0); err == nil {
			t.Error("a stopped server takes another State")
		}
		if _, err := server.ListeningSockets(); err == nil {
			t.Error("a stopped server has listening sockets")
		}
	})
}

// TestApplyKeepsListenerClosed: a listener that SetListening has closed stays closed when it stays,
// also on a new address. An address that moves to an open listener is open.
func TestApplyKeepsListenerClosed(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, addresses(greets(t, "o")))
		r.removes = true
		r.server.SetListening(r.state.Listeners[0], false)
		listening := func(what, addr string, n int) {
			t.Helper()
			testnet.Eventually(t, what, func() bool { return listeningSockets(t, addr) == n })
		}
		listening("closed", r.addr, 0)
		l := r.again()
		l.Binds = append(l.Binds, tcpBind("127.0.0.2:0"))
		r.apply(0, l)
		second := addressOf(r.server.Addrs()[1].Bind)
		listening("the new address is closed", second, 0)
		if n := listeningSockets(t, r.addr); n != 0 {
			t.Errorf("%d sockets listen on the closed address", n)
		}
		r.apply(0, l, listenerOf("open", r.pool, tcpBind("127.0.0.1:0")))
		r.apply(0, listenerOf("front", r.pool, l.Binds[0]), listenerOf("open", r.pool, l.Binds[1]))
		listening("the moved address is open", second, 2)
		if n := listeningSockets(t, r.addr); n != 0 {
			t.Errorf("%d sockets listen on the closed address", n)
		}
		all, err := r.server.ListeningSockets()
		if err != nil {
			t.Fatal(err)
		}
		proxy.CloseSockets(all)
		if !all[0].Shut || all[1].Shut {
			t.Errorf("sockets = %+v, want only the first ones shut", all)
		}
		r.server.SetListening(l, true)
		listening("open again", r.addr, 2)

		r.server.SetListening(&proxy.Listener{Name: "late"}, false) // of a State that is gone
		r.apply(0, l, listenerOf("late", r.pool, tcpBind("127.0.0.3:0")))
		greeting(t, testnet.Dial(t, "tcp", addressOf(r.server.Addrs()[1].Bind)))
	})
}

// TestApplyFreesOldStates: nothing keeps a State once the next one is in service and its last
// connection has ended.
func TestApplyFreesOldStates(t *testing.T) {
	const states = 20
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), func(s *setup) { s.options.Finished = func(*proxy.Record) {} })
		r.removes = true
		var old []weak.Pointer[proxy.Listener]
		var oldStates []weak.Pointer[proxy.State]
		for i := range states {
			l := listenerOf("front", poolOf(t, fmt.Sprint("pool ", i), b), tcpBind("127.0.0.1:0"))
			removed := listenerOf(fmt.Sprint("removed ", i), l.Pool, tcpBind("127.0.0.1:0"))
			state := &proxy.State{Listeners: []*proxy.Listener{l, removed}}
			if err := r.server.Apply(state, 0); err != nil {
				t.Fatal(err)
			}
			old = append(old, weak.Make(l), weak.Make(removed))
			oldStates = append(oldStates, weak.Make(state))
			for _, a := range r.server.Addrs() {
				c := testnet.Dial(t, "tcp", addressOf(a.Bind))
				mustAsk(t, c, "hello")
				c.Close()
			}
		}
		testnet.Eventually(t, "all connections have ended", func() bool { return r.server.Connections() == 0 })
		r.apply(0, r.again())
		testnet.Eventually(t, "the old States are freed", func() bool {
			runtime.GC()
			for i := range oldStates {
				if oldStates[i].Value() != nil || old[2*i].Value() != nil || old[2*i+1].Value() != nil {
					return false
				}
			}
			return true
		})
	})
}

// TestApplyUnderLoad: clients come all the time, while States follow each other that move, add and
// remove addresses. No client of the address that stays fails. At the end, no descriptor is left.
func TestApplyUnderLoad(t *testing.T) {
	const clients, states = 4, 60
	engines(t, func(t *testing.T, engine string) {
		r := start(t, engine, addresses(testnet.Serve(t, "tcp", "", testnet.Echo)), func(s *setup) {
			s.options.MaxConnections = 100
		})
		r.removes = true
		files := testnet.OpenFiles(t)
		var over atomic.Bool
		var all sync.WaitGroup
		var visits atomic.Int64
		for range clients {
			all.Go(func() {
				for !over.Load() {
					if !r.visit() {
						return
					}
					visits.Add(1)
				}
			})
		}
		all.Go(func() {
			for !over.Load() {
				r.server.Counts()
			}
		})
		dir := t.TempDir()
		for i := range states {
			before := visits.Load()
			l := r.again()
			l.Name = []string{"front", "front", "back"}[i%3]
			listeners := []*proxy.Listener{l}
			for j := range i % 5 {
				listeners = append(listeners, listenerOf(fmt.Sprint("more ", j), r.pool, tcpBind("127.0.0.1:0"),
					listen.Bind{Path: filepath.Join(dir, fmt.Sprint(j))}))
			}
			r.apply([]int{100, 0, 60}[i%3], listeners...)
			testnet.Eventually(t, "clients are served", func() bool { return visits.Load() > before })
		}
		over.Store(true)
		all.Wait()
		r.apply(100, r.again())
		testnet.Eventually(t, "no descriptor is left", func() bool { return testnet.OpenFiles(t) <= files })
	})
}

// TestApplyMovesClients: clients come all the time, while listeners with overlapping addresses take
// turns. No client is reset or refused.
func TestApplyMovesClients(t *testing.T) {
	const clients = 4
	enginesTogether(t, func(t *testing.T, engine string) {
		// No client of another program may use the port: 0.0.0.0 could not be bound then.
		port := testnet.FreePort(t)
		r := start(t, engine, addresses(testnet.Serve(t, "tcp", "", testnet.Echo)), func(s *setup) {
			s.listener.Binds = []listen.Bind{tcpBind(fmt.Sprint("127.0.0.1:", port))}
		})
		r.removes = true
		var over atomic.Bool
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for !over.Load() {
					if !r.visit() {
						return
					}
				}
			})
		}
		for _, host := range []string{"0.0.0.0", "127.0.0.1", "0.0.0.0"} {
			r.apply(0, listenerOf("of "+host, r.pool, tcpBind(fmt.Sprintf("%s:%d", host, port))))
			r.removed()
		}
		over.Store(true)
		all.Wait()
	})
}

// TestListeningSocketsGoOn duplicates all sockets. The server stops, and a second one serves the
// clients that wait in their queues.
func TestListeningSocketsGoOn(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		path := filepath.Join(t.TempDir(), "socket")
		r := start(t, engine, addresses(greets(t, "o")), func(s *setup) {
			s.options.Workers, s.options.MaxConnections = 1, 1
			s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: path})
		})
		all, err := r.server.ListeningSockets()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 2 || len(all[0].FDs) != 1 || len(all[1].FDs) != 1 || all[0].Listener != "front" ||
			all[0].Bind.Addr.Port() != 0 || addressOf(all[0].Addr) != r.addr || all[1].Bind.Path != path {
			t.Fatalf("sockets = %+v", all)
		}
		greeting(t, r.dial()) // has the only slot
		waits := r.dial()
		r.server.Stop()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		l := *r.state.Listeners[0]
		l.Binds = l.Binds[:1] // the file is gone
		proxy.CloseSockets(all[1:])
		next := start(t, engine, addresses(greets(t, "n")), func(s *setup) {
			l.Pool, l.Slots = nil, nil
			s.listener = l
			s.options.Inherited = func(listener string, bind listen.Bind) []int {
				if all[0].Listener != listener || all[0].Bind != bind {
					t.Errorf("asked for %s %s", listener, bind)
				}
				return all[0].FDs
			}
		})
		if addressOf(next.server.Addrs()[0].Bind) != r.addr {
			t.Errorf("the second server listens on %v", next.server.Addrs())
		}
		for _, c := range []testnet.Conn{waits, next.dial()} {
			if got := greeting(t, c); got != "n" {
				t.Errorf("served by %q", got)
			}
		}
	})
}
