package main

import (
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/admin"
	"l4proxy/eventloop"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
	"l4proxy/upgrade"
)

// metricsConfig has a backend that refuses before one that serves.
func metricsConfig(engine, refusing, serving string) string {
	return fmt.Sprintf(`
engine: %s
workers: 2
admin: {bind: "unix:$DIR/admin"}
listeners:
  web:
    bind: 127.0.0.1:0
    pool: back
    acl: [{deny: [127.0.0.2]}, {deny: [127.0.0.3], with: reset}, {allow: [127.0.0.0/8]}]
  other: {bind: 127.0.0.1:0, pool: second}
pools:
  back: {policy: first, backends: [%q, %q]}
  second:
    backends: [{address: %q, max_connections: 1}]
    queue: {timeout: 30s}
`, engine, refusing, serving, serving)
}

// TestMetrics follows mixed traffic with each engine, a reload, and an upgrade.
func TestMetrics(t *testing.T) {
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			if engine == eventloop.IOUring {
				testenv.NeedIOURing(t)
			}
			testMetrics(t, engine)
		})
	}
}

func testMetrics(t *testing.T, engine string) {
	serving, refusing := testnet.Serve(t, "tcp", "", testnet.Echo), testnet.Refusing(t)
	s := newService(t, metricsConfig(engine, refusing, serving.Addr))
	web, other := s.address("web"), s.address("other")
	s.shows(series{
		`l4proxy_connections_total{listener="web"}`:                       0,
		`l4proxy_connections_denied_total{listener="web",rule="deny[0]"}`: 0,
		`l4proxy_engine_info{engine="` + engine + `"}`:                    1,
		`l4proxy_config_last_reload_success{}`:                            1,
		`l4proxy_ready{}`:                                                 1,
	})

	// Bytes count while the connection lives, small ones and bulk.
	c := testnet.Dial(t, "tcp", web)
	const up = testnet.Stream(1)
	const small, bulk = 1000, 8 << 20
	both := func(n int64) {
		t.Helper()
		sent := make(chan error, 1)
		go func() { sent <- up.Send(c, n, 65536) }()
		if err := up.CheckExactly(io.LimitReader(c, n), n, 65536); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	both(small)
	s.shows(series{
		`l4proxy_bytes_total{direction="in",listener="web"}`:  small,
		`l4proxy_bytes_total{direction="out",listener="web"}`: small,
		`l4proxy_connections_active{listener="web"}`:          1,
	})
	both(bulk)
	s.shows(series{
		`l4proxy_bytes_total{direction="in",listener="web"}`:                                           small + bulk,
		`l4proxy_bytes_total{direction="out",listener="web"}`:                                          small + bulk,
		`l4proxy_backend_dials_total{backend="` + refusing + `",pool="back",result="connect_refused"}`: 1,
		`l4proxy_backend_dials_total{backend="` + serving.Addr + `",pool="back",result="ok"}`:          1,
		`l4proxy_backend_connections_active{backend="` + serving.Addr + `",pool="back"}`:               1,
		`l4proxy_pool_retries_total{pool="back"}`:                                                      1,
		`l4proxy_pool_backoffs_total{pool="back"}`:                                                     1,
		`l4proxy_backend_dial_duration_seconds_count{pool="back"}`:                                     1,
	})

	// Denied clients, by rule. What they send does not count as bytes.
	for i := range 5 {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%2))}
		denied, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", web)
		if err != nil {
			continue // it was reset at once
		}
		_, _ = denied.Write([]byte("hello"))
		_, _ = io.Copy(io.Discard, denied)
		denied.Close()
	}
	// Clients of a full backend wait.
	first := testnet.Dial(t, "tcp", other)
	mustEcho(t, first, "first")
	waiting := testnet.Dial(t, "tcp", other)
	s.shows(series{`l4proxy_queue_waiting{pool="second"}`: 1, `l4proxy_queue_entered_total{pool="second"}`: 1})
	first.Close()
	mustEcho(t, waiting, "second")
	waiting.Close()
	s.shows(series{
		`l4proxy_connections_total{listener="web"}`:                                             6,
		`l4proxy_connections_denied_total{listener="web",rule="deny[0]"}`:                       3,
		`l4proxy_connections_denied_total{listener="web",rule="deny[1]"}`:                       2,
		`l4proxy_connections_closed_total{listener="web",reason="denied",side="proxy"}`:         5,
		`l4proxy_connections_closed_total{listener="other",reason="closed",side="client"}`:      2,
		`l4proxy_connection_duration_seconds_count{listener="web"}`:                             0,
		`l4proxy_connection_duration_seconds_count{listener="other"}`:                           2,
		`l4proxy_bytes_total{direction="in",listener="web"}`:                                    small + bulk,
		`l4proxy_bytes_total{direction="in",listener="other"}`:                                  11,
		`l4proxy_queue_waiting{pool="second"}`:                                                  0,
		`l4proxy_queue_wait_seconds_count{pool="second"}`:                                       1,
		`l4proxy_backend_connections_active{backend="` + serving.Addr + `",pool="second"}`:      0,
		`l4proxy_backend_dials_total{backend="` + serving.Addr + `",pool="second",result="ok"}`: 2,
		`l4proxy_pool_backends{pool="second",state="unknown"}`:                                  1,
		`l4proxy_open_connections{}`:                                                            1,
		`l4proxy_log_lines_dropped_total{}`:                                                     0,
	})
	checkMetrics(t, s)

	// A reload that fails, and one that removes a listener and its pool.
	s.configure("nonsense")
	if _, err := s.client().Reload(t.Context(), admin.ReloadRequest{}); err == nil {
		t.Fatal("nonsense was loaded")
	}
	s.shows(series{`l4proxy_config_last_reload_success{}`: 0, `l4proxy_config_reloads_total{result="failure"}`: 1})
	config := metricsConfig(engine, refusing, serving.Addr)
	config, _, _ = strings.Cut(config, "  second:")
	config = strings.Replace(config, "  other: {bind: 127.0.0.1:0, pool: second}\n", "", 1)
	s.configure(config)
	if _, err := s.client().Reload(t.Context(), admin.ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
	before := s.shows(series{`l4proxy_config_last_reload_success{}`: 1, `l4proxy_config_generation{}`: 2})
	for name := range before {
		if strings.Contains(name, `="other"`) || strings.Contains(name, `="second"`) {
			t.Errorf("%s is left", name)
		}
	}
	testMetricsUpgrade(t, s, before, func() { both(small) })
	c.Close()
	s.shows(series{
		`l4proxy_connections_closed_total{listener="web",reason="closed",side="client"}`: 1,
		`l4proxy_connection_duration_seconds_count{listener="web"}`:                      1,
		`l4proxy_connections_active{listener="web"}`:                                     0,
		`l4proxy_bytes_total{direction="out",listener="web"}`:                            2*small + bulk,
	})
}

// testMetricsUpgrade upgrades while one connection is open, on which traffic sends 1000 bytes each
// way. No count of the service goes back at any time.
func testMetricsUpgrade(t *testing.T, s *service, before series, traffic func()) {
	t.Helper()
	stop, last := make(chan struct{}), before
	var scraping sync.WaitGroup
	scraping.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			now, err := s.scrape()
			if err != nil {
				continue // between two processes, a connection may be cut
			}
			for name, value := range last {
				if ofService(name) && now[name] < value {
					t.Errorf("scrape %d: %s went from %v to %v", n, name, value, now[name])
				}
			}
			last = now
		}
	})
	s.upgrade()
	traffic()
	close(stop)
	scraping.Wait()
	after := s.shows(series{
		`l4proxy_connections_active{listener="web"}`:         1,
		`l4proxy_upgrades_total{result="success"}`:           1,
		`l4proxy_config_reloads_total{result="failure"}`:     1,
		`l4proxy_bytes_total{direction="in",listener="web"}`: before[`l4proxy_bytes_total{direction="in",listener="web"}`] + 1000,
	})
	for _, name := range slices.Sorted(maps.Keys(before)) {
		moved := strings.HasPrefix(name, "l4proxy_bytes") || strings.HasPrefix(name, "l4proxy_upgrades")
		if ofService(name) && !moved && after[name] != before[name] {
			t.Errorf("%s was %v before the upgrade, and is %v", name, before[name], after[name])
		}
	}
}

// ofService reports whether a count is one of the service, which upgrades carry on, and not one of
// a process.
func ofService(name string) bool {
	if !strings.HasPrefix(name, "l4proxy_") {
		return false
	}
	for _, process := range []string{"l4proxy_loop", "l4proxy_log_lines", "l4proxy_dns"} {
		if strings.HasPrefix(name, process) {
			return false
		}
	}
	base, _, _ := strings.Cut(name, "{")
	return strings.HasSuffix(base, "_total") || strings.HasSuffix(base, "_count") || strings.HasSuffix(base, "_sum")
}

// TestScrapesWaitForUpgrades: while two processes count, a scrape waits, and the process that has
// handed over answers none.
func TestScrapesWaitForUpgrades(t *testing.T) {
	var u upgrades
	u.program.Binary = "l4proxy"
	if _, err := u.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.freeze(true)
	if u.settled(t.Context(), time.Millisecond) {
		t.Error("a scrape does not wait")
	}
	waiting := make(chan bool)
	go func() { waiting <- u.settled(t.Context(), testnet.Patience) }()
	u.freeze(false)
	if !<-waiting {
		t.Error("a scrape fails although the upgrade was undone")
	}
	u.freeze(true)
	go func() { waiting <- u.settled(t.Context(), testnet.Patience) }()
	u.end(upgrade.Result{}, nil)
	if <-waiting || u.settled(t.Context(), testnet.Patience) {
		t.Error("the old process is scraped after an upgrade")
	}
}

// TestMetricsOfPauses leaves a process one descriptor for a client and none for its dial, and then
// none for the next client.
func TestMetricsOfPauses(t *testing.T) {
	for _, engine := range []string{eventloop.IOUring, eventloop.Epoll} {
		t.Run(engine, func(t *testing.T) {
			if engine == eventloop.IOUring {
				testenv.NeedIOURing(t)
			}
			s := newService(t, fmt.Sprintf(`
engine: %s
workers: 1
admin: {bind: "unix:$DIR/admin"}
listeners: {web: {bind: 127.0.0.1:0, pool: back}}
pools: {back: {connect: {timeout: 1m}, backends: [%q]}}
`, engine, testnet.Serve(t, "tcp", "", testnet.Echo).Addr))
			accepts, dials := `l4proxy_accept_pauses_total{cause="resources",listener="web"}`, `l4proxy_pool_dial_pauses_total{pool="back"}`
			s.shows(series{accepts: 0, dials: 0})
			files := func(most uint64) (was uint64) {
				t.Helper()
				var old unix.Rlimit
				if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, nil, &old); err != nil {
					t.Fatal(err)
				}
				if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: old.Max}, nil); err != nil {
					t.Fatal(err)
				}
				return old.Cur
			}
			settled(t, "the descriptors do not change", func() int { return openFilesOf(t, s.pid()) })
			var free []uint64 // numbers, the lowest first
			for n := uint64(0); len(free) < 2; n++ {
				if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", s.pid(), n)); err != nil {
					free = append(free, n)
				}
			}
			was := files(free[0] + 1)
			c := testnet.Dial(t, "tcp", s.address("web"))
			s.waitFor("dialing paused")
			files(free[1] + 1)
			mustEcho(t, c, "served after all")
			second := testnet.Dial(t, "tcp", s.address("web"))
			s.waitFor("accepting paused")
			files(was)
			mustEcho(t, second, "served after all")
			got := s.shows(series{dials: 1, `l4proxy_connections_total{listener="web"}`: 2})
			if got[accepts] < 1 {
				t.Errorf("%s = %v", accepts, got[accepts])
			}
		})
	}
}

// TestScrapeManyBackends: a scrape of a process with 10,000 backends, from the counters to the
// text, takes less than 200 ms of its CPU time. That is what it takes at most on a machine with
// nothing else to do; tests run beside others.
func TestScrapeManyBackends(t *testing.T) {
	const backends, limit = 10_000, 200 * time.Millisecond
	var list strings.Builder
	for i := range backends {
		fmt.Fprintf(&list, "127.%d.%d.1:9, ", 1+i/250, i%250)
	}
	s := newService(t, fmt.Sprintf(`
admin: {bind: "unix:$DIR/admin"}
listeners: {web: {bind: 127.0.0.1:0, pool: back}}
pools: {back: {policy: round_robin, connect: {attempts: 10}, backends: [%s]}}
`, list.String()))
	for range 20 { // dials fail, so that some backends have these counts too
		_, _ = io.ReadAll(testnet.Dial(t, "tcp", s.address("web")))
	}
	least, shortest := time.Hour, time.Hour
	for range 5 {
		before, began := s.cpuTime(), time.Now()
		text, err := s.scrapeText()
		if err != nil {
			t.Fatal(err)
		}
		least, shortest = min(least, s.cpuTime()-before), min(shortest, time.Since(began))
		if n := strings.Count(string(text), "\nl4proxy_backend_up{"); n != backends {
			t.Fatalf("%d backends", n)
		}
		if n := strings.Count(string(text), `result="connect_refused"}`); n < 100 {
			t.Fatalf("%d backends with failed dials", n)
		}
	}
	t.Logf("%v of CPU time, done after %v", least, shortest)
	if least > limit && !underRace {
		t.Errorf("a scrape took %v of CPU time", least)
	}
}

// cpuTime is that of the process.
func (s *service) cpuTime() time.Duration {
	s.t.Helper()
	const cpuTime = 2 // clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^s.pid())<<3|cpuTime, &used); err != nil {
		s.t.Fatal(err)
	}
	return time.Duration(used.Nano())
}
