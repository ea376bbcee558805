package control

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"l4proxy/config"
	"l4proxy/eventloop"
	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// under is a proxy under load, whose configuration is changed again and again.
type under struct {
	*Reloader
	t        *testing.T
	server   *proxy.Server
	file     atomic.Pointer[string]
	states   []weak.Pointer[proxy.State]
	short    atomic.Int64 // connections that were served
	long     atomic.Int64 // rounds of the long ones
	failures atomic.Int64
}

// underLoad runs a proxy with the first file, and clients, until test returns.
func underLoad(t *testing.T, engine, file string, test func(u *under)) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	u := &under{t: t}
	u.file.Store(&file)
	live := NewLive(log)
	cfg := parse(t, file)
	p := plan(t, cfg, noNames)
	if err := live.Apply(p, func(s *proxy.State) (err error) {
		u.states = append(u.states, weak.Make(s))
		u.server, err = proxy.Listen(s, proxy.Options{Engine: engine, Workers: 2, MaxConnections: 1000, Log: log})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	u.Reloader = NewReloader(live, cfg, p, nil, ReloadOptions{
		Load: func() (*config.Config, []config.File, error) {
			cfg, err := config.Parse("l4proxy.yaml", []byte(*u.file.Load()), nil)
			return cfg, nil, err
		},
		Lookup: noNames,
		Install: func(s *proxy.State, most int) error {
			u.states = append(u.states, weak.Make(s))
			return u.server.Apply(s, most)
		},
		Counts:    u.server.Counts,
		FileLimit: 10_000, Workers: 2, Log: log,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { live.Run(ctx, u.server) })
	running.Go(func() { u.Run(ctx) })
	running.Go(func() {
		if err := u.server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	test(u)
}

// load lets clients come and go, and others stay and check every byte, until stop is called. That
// returns when all have ended.
func (u *under) load(address string, short, long int) (stop func()) {
	over := make(chan struct{})
	var clients sync.WaitGroup
	client := func(name string, run func(conn net.Conn) error) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute)) // it is open
			err = run(conn)
		}
		if err != nil {
			u.failures.Add(1)
			u.t.Errorf("%s connection: %v", name, err)
		}
	}
	ended := func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}
	for i := range short {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for !ended() && u.failures.Load() == 0 {
				client("short", func(conn net.Conn) error { return echo(conn, r, 100) })
				u.short.Add(1)
			}
		})
	}
	var begun sync.WaitGroup
	for i := range long {
		begun.Add(1)
		clients.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			first := sync.OnceFunc(begun.Done)
			defer first()
			client("long", func(conn net.Conn) error {
				for !ended() && u.failures.Load() == 0 {
					if err := echo(conn, r, 1+r.IntN(100_000)); err != nil {
						return err
					}
					u.long.Add(1)
					first()
				}
				return nil
			})
		})
	}
	begun.Wait()
	return func() {
		close(over)
		clients.Wait()
	}
}

// echo sends n random bytes and expects them back.
func echo(conn net.Conn, r *rand.Rand, n int) error {
	sent, got := make([]byte, n), make([]byte, n)
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(sent)
		written <- err
	}()
	_, err := io.ReadFull(conn, got)
	if werr := <-written; err == nil {
		err = werr
	}
	if err == nil && !bytes.Equal(sent, got) {
		err = fmt.Errorf("%d bytes came back changed", n)
	}
	return err
}

// echoServer returns the address of a server that sends back what it gets.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // its end is seen by the client
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// Reloads that change all that a reload can change, while clients come and go: not one of them
// notices, and nothing is left of the former configurations.
func TestReloadsUnderLoad(t *testing.T) {
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			if engine == eventloop.IOUring {
				if _, why, err := eventloop.Probe(eventloop.Auto); why != nil || err != nil {
					t.Skipf("no io_uring: %v %v", why, err)
				}
			}
			testReloadsUnderLoad(t, engine)
		})
	}
}

func testReloadsUnderLoad(t *testing.T, engine string) {
	const reloads = 30
	a, b, c := echoServer(t), echoServer(t), echoServer(t)
	variants := []string{
		`
drain: {timeout: 1h} # its backends are drained, and come back in time
listeners: {web: {bind: "127.0.0.1:0", pool: web}}
pools: {web: {backends: ["` + a + `", "` + b + `"]}}`,
		`
max_connections: 500
listeners: {web: {bind: "127.0.0.1:0", pool: web, max_connections: 300, acl: [{allow: 127.0.0.0/8}]}, other: {bind: "127.0.0.1:0", pool: web}}
pools: {web: {policy: maglev, on_removed: keep, health: {interval: 1s}, backends: ["` + b + `", "` + c + `"]}}`,
		`
listeners: {web: {bind: "127.0.0.1:0", pool: api, timeouts: {idle: 1m}}}
pools:
  api: {policy: round_robin, on_removed: keep, backends: [{address: "` + a + `", weight: 3, max_connections: 200}, "` + c + `"], queue: {size: 100}}
  web: {on_removed: keep, slow_start: 1s, health: {type: expect, script: [{send: x}, {receive: x}]}, backends: ["` + a + `"]}`,
		`
listeners: {web: {bind: "127.0.0.1:0", pool: web}, third: {bind: ["127.0.0.1:0", "127.0.0.1:0"], pool: api, max_connections: 5}}
pools:
  web: {policy: p2c, on_removed: keep, outlier: {}, backends: ["` + a + `", "` + b + `", {address: "` + c + `", backup: true}]}
  api: {policy: source_hash, on_removed: keep, backends: ["` + c + `"]}`,
	}
	goroutines := runtime.NumGoroutine()
	underLoad(t, engine, variants[0], func(u *under) {
		stop := u.load(u.server.Addrs()[0].Bind.Addr.String(), 4, 20)
		for i := range reloads {
			u.file.Store(&variants[i%len(variants)])
			if _, err := u.Reload(t.Context(), Request{}); err != nil {
				t.Fatal(err)
			}
			before := u.short.Load()
			testnet.Eventually(t, "clients are served between reloads", func() bool {
				return u.short.Load() > before+5 || u.failures.Load() > 0
			})
		}
		stop()
		t.Logf("%d reloads, %d short connections, %d rounds of long ones, %d failed", reloads, u.short.Load(), u.long.Load(), u.failures.Load())
		testnet.Eventually(t, "no connection is left", func() bool { return u.server.Connections() == 0 })
		for _, l := range u.server.Counts().Listeners {
			for _, reason := range failures {
				if n := l.Ended(proxy.SideProxy, reason) + l.Ended(proxy.SideBackend, reason); n > 0 {
					t.Errorf("%d connections ended with %s", n, reason)
				}
			}
		}
		u.file.Store(&variants[0])
		if _, err := u.Reload(t.Context(), Request{}); err != nil {
			t.Fatal(err)
		}
		testnet.Eventually(t, "the former States are freed", func() bool {
			runtime.GC()
			alive := 0
			for _, s := range u.states {
				if s.Value() != nil {
					alive++
				}
			}
			return alive <= 1
		})
	})
	testnet.Eventually(t, "all goroutines have ended, but those of the backends", func() bool {
		return runtime.NumGoroutine() <= goroutines
	})
}

// A reload that denies all clients is rolled back by its guard, from what real clients get.
func TestGuardSeesDeniedClients(t *testing.T) {
	base := `
listeners: {web: {bind: "127.0.0.1:0", pool: web, acl: [{allow: 127.0.0.0/8}]}}
pools: {web: {backends: ["` + echoServer(t) + `"]}}`
	mistake := strings.Replace(base, "127.0.0.0/8", "10.0.0.0/8", 1)
	underLoad(t, eventloop.Epoll, base, func(u *under) {
		address := u.server.Addrs()[0].Bind.Addr.String()
		visit := func() error {
			conn := testnet.Dial(t, "tcp", address)
			defer conn.Close()
			return echo(conn, rand.New(rand.NewPCG(1, 1)), 10)
		}
		for range 30 {
			if err := visit(); err != nil {
				t.Fatal(err)
			}
		}
		u.file.Store(&mistake)
		if _, err := u.Reload(t.Context(), Request{Confirm: time.Hour, Guard: &ReloadGuard{Least: 10}}); err != nil {
			t.Fatal(err)
		}
		denied := 0
		testnet.Eventually(t, "the guard rolls back", func() bool {
			if denied < 10 && visit() != nil {
				denied++
			}
			return u.Status().LastRollback != nil
		})
		const want = "of 10 new connections were not served ("
		if s := u.Status(); !strings.Contains(s.LastRollback.Reason, want) || s.Unconfirmed != nil {
			t.Errorf("status = %+v, reason %q", s, s.LastRollback.Reason)
		}
		if err := visit(); err != nil {
			t.Error(err)
		}
	})
}
