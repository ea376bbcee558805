package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/control"
	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// echoConfig is a configuration with one pool, on TCP and a unix socket.
func echoConfig(engine string, backends ...string) string {
	return fmt.Sprintf(`
engine: %s
workers: 2
listeners:
  web: {bind: ["127.0.0.1:0", "unix:$DIR/front"]}
pools:
  web: {backends: ["%s"]}
`, engine, strings.Join(backends, `", "`))
}

func mustEcho(t *testing.T, c testnet.Conn, text string) {
	t.Helper()
	if err := tryEcho(c, text); err != nil {
		t.Fatal(err)
	}
}

func tryEcho(c testnet.Conn, text string) error {
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	p := make([]byte, len(text))
	if _, err := io.ReadFull(c, p); err != nil {
		return err
	}
	if string(p) != text {
		return fmt.Errorf("echo of %q = %q", text, p)
	}
	return nil
}

// flow sends a stream through an echo server until stopped, and checks every byte that comes back.
func flow(c testnet.Conn, seed int, stop *atomic.Bool) error {
	stream := testnet.Stream(seed)
	sent := make(chan error, 1)
	var total int64
	go func() {
		for !stop.Load() {
			if _, err := c.Write(stream.Piece(total, 1+int(total)%70000)); err != nil {
				sent <- err
				return
			}
			total += int64(1 + int(total)%70000)
		}
		sent <- c.CloseWrite()
	}()
	got, err := stream.Check(c, 65536)
	if failed := <-sent; err == nil {
		err = failed
	}
	if err == nil && got != total {
		err = fmt.Errorf("%d bytes came back of %d", got, total)
	}
	return err
}

// TestUpgradesUnderLoad upgrades several times, also to another engine. Bulk flows, quiet and
// half-closed connections go on, and new ones come all the time. No byte and no client is lost.
func TestUpgradesUnderLoad(t *testing.T) {
	testenv.NeedIOURing(t)
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, echoConfig("io_uring", b.Addr))
	at, front := s.address("web"), filepath.Join(s.dir, "front")

	var stop atomic.Bool
	var running sync.WaitGroup
	for i := range 8 {
		c := testnet.Dial(t, []string{"tcp", "unix"}[i%2], []string{at, front}[i%2])
		running.Go(func() {
			if err := flow(c, i, &stop); err != nil {
				t.Errorf("flow %d: %v", i, err)
			}
		})
	}
	clients := 0
	running.Go(func() {
		for ; !stop.Load(); clients++ {
			c, err := testnet.TryDial([]string{"tcp", "unix"}[clients%2], []string{at, front}[clients%2])
			if err == nil {
				err = tryEcho(c, fmt.Sprint("client ", clients))
				c.Close()
			}
			if err != nil {
				t.Errorf("client %d: %v", clients, err)
				return
			}
		}
	})
	quiet := testnet.Dial(t, "tcp", at)
	mustEcho(t, quiet, "before")

	upgrades := 6
	if underRace {
		upgrades = 3 // one to each engine
	}
	for i := range upgrades {
		s.configure(strings.Replace(echoConfig([]string{"epoll", "io_uring", "io_uring"}[i%3], b.Addr), "127.0.0.1:0", at, i/3))
		s.upgrade()
		mustEcho(t, quiet, fmt.Sprint("after upgrade ", i))
	}
	stop.Store(true)
	running.Wait()
	if clients < 10 {
		t.Errorf("only %d clients were served", clients)
	}
	if n := s.count(`"msg":"upgraded","from_pid":[0-9]+`); n != upgrades {
		t.Errorf("%d upgrades are logged, want %d", n, upgrades)
	}
	if n := s.count(`"msg":"upgraded: the new process serves".*"connections_left":0`); n != upgrades {
		t.Errorf("connections were left in upgrades:\n%s", s.logged())
	}
	quiet.Close()
	s.stop()
	if _, err := os.Stat(front); err == nil {
		t.Error("the unix socket's file is left")
	}
}

// TestFailedUpgrades: whatever is at the path of the binary, the old process keeps serving and logs
// why, and leaves no process and no descriptor behind. Then an upgrade to l4proxy works.
func TestFailedUpgrades(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, echoConfig("epoll", b.Addr))
	at := s.address("web")
	c := testnet.Dial(t, "tcp", at)
	mustEcho(t, c, "before")
	files := settled(t, "the descriptors do not change", func() int { return openFilesOf(t, s.pid()) })

	for _, try := range []struct{ script, want string }{
		{"exit 3", `ended before it said hello: is it l4proxy\? \(exit status 3\)`},
		{"kill -SEGV $$", `ended before it said hello: is it l4proxy\? \(signal: segmentation fault`},
		{"echo I am some other program >&3; exec sleep 60", `failed before it said hello: is it l4proxy\?: .*I am some`},
	} {
		s.install(try.script)
		s.failUpgrade(try.want)
		mustEcho(t, c, "after "+try.script)
	}
	if err := os.Remove(s.binary); err != nil {
		t.Fatal(err)
	}
	s.failUpgrade(`l4proxy does not exist: install the new binary there, or name another one`)
	if err := os.WriteFile(s.binary, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.failUpgrade(`l4proxy is not executable: chmod \+x it, or name another binary`)

	s.install("")
	s.configure("listeners: {web: {bind: ':1', pol: web}}\npools: {web: {backends: ['127.0.0.1:1']}}\n")
	s.failUpgrade(`the new process refuses to take over: .*config.yaml:2:31: unknown key .*pol.*did you mean .*pool.*; .*config.yaml:3:26: `)
	taken := testnet.Listen(t, "tcp", "")
	s.configure(strings.Replace(echoConfig("epoll", b.Addr), "127.0.0.1:0", "127.0.0.1:0\", \""+taken.Addr, 1))
	s.failUpgrade(`refuses to take over: .*config.yaml:6:\d+: listener web: cannot listen on ` + taken.Addr)
	if _, err := os.Stat(filepath.Join(s.dir, "front")); err != nil {
		t.Errorf("the unix socket is gone: %v", err)
	}

	mustEcho(t, c, "after all")
	testnet.Eventually(t, "no descriptor is left", func() bool { return openFilesOf(t, s.pid()) == files })
	mustEcho(t, testnet.Dial(t, "tcp", at), "a new client")
	mustEcho(t, testnet.Dial(t, "unix", filepath.Join(s.dir, "front")), "a new client")

	s.configure(echoConfig("epoll", b.Addr))
	s.upgrade()
	mustEcho(t, c, "after the upgrade")
	mustEcho(t, testnet.Dial(t, "tcp", at), "a new client")
}

// TestUpgradeDropsAListener: the new configuration no longer has a listener. Its
// connections move anyway.
func TestUpgradeDropsAListener(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, `
listeners:
  web: {bind: "127.0.0.1:0"}
  old: {bind: "127.0.0.1:0", pool: web}
pools:
  web: {backends: ["`+b.Addr+`"]}
`)
	old := s.address("old")
	c := testnet.Dial(t, "tcp", old)
	mustEcho(t, c, "before")
	s.configure(echoConfig("epoll", b.Addr))
	s.upgrade()
	mustEcho(t, c, "after")
	if _, err := testnet.TryDial("tcp", old); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a client of the listener that is gone: %v, want it refused", err)
	}
	s.waitFor(`"msg":"upgrade: socket of the old process not used".*"name":"old"`)
}

// TestUpgradeWhileAListenerIsClosed: no backend of its pool can serve, so the listener refuses
// clients, before and after the upgrade, until the backend is back.
func TestUpgradeWhileAListenerIsClosed(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "backend")
	s := newService(t, `
listeners:
  web: {bind: "127.0.0.1:0", when_no_backend: unlisten}
pools:
  web: {backends: ["unix:`+socket+`"], health: {interval: 20ms, timeout: 1s, rise: 1, fall: 1}}
`)
	at := s.address("web")
	refused := func() bool {
		c, err := testnet.TryDial("tcp", at)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	}
	s.waitFor(`"msg":"listener closed: no backend of its pool can serve"`)
	testnet.Eventually(t, "clients are refused", refused)
	s.upgrade()
	testnet.Eventually(t, "clients are refused after the upgrade", refused)
	testnet.Serve(t, "unix", socket, testnet.Echo)
	testnet.Eventually(t, "a client is served", func() bool {
		c, err := testnet.TryDial("tcp", at)
		if err != nil {
			return false
		}
		defer c.Close()
		return tryEcho(c, "hello") == nil
	})
}

// TestUpgradeKeepsTheQueue: clients that wait for a backend are served, whichever process they have
// waited in.
func TestUpgradeKeepsTheQueue(t *testing.T) {
	for _, engine := range []string{"epoll", "io_uring"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "io_uring" {
				testenv.NeedIOURing(t)
			}
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			s := newService(t, `
engine: `+engine+`
workers: 1
listeners:
  web: {bind: "127.0.0.1:0"}
pools:
  web: {backends: [{address: "`+b.Addr+`", max_connections: 1}], queue: {size: 100, timeout: 5m}}
`)
			at := s.address("web")
			first := testnet.Dial(t, "tcp", at)
			mustEcho(t, first, "first")
			const waiting = 5
			served := make(chan error, waiting)
			for range waiting {
				c := testnet.Dial(t, "tcp", at)
				if _, err := io.WriteString(c, "waiting"); err != nil {
					t.Fatal(err)
				}
				go func() {
					defer c.Close()
					_, err := io.ReadFull(c, make([]byte, 7))
					served <- err
				}()
			}
			for range 4 {
				s.upgrade()
			}
			mustEcho(t, first, "first again")
			first.Close()
			for range waiting {
				if err := <-served; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestSignalsAfterAnUpgrade: the old process waits for a client that it turns away. A signal ends
// the waiting.
func TestSignalsAfterAnUpgrade(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, `
listeners:
  web: {bind: "127.0.0.1:0", acl: [{deny: [127.0.0.2]}]}
pools:
  web: {backends: ["`+b.Addr+`"]}
`)
	at := s.address("web")
	old := s.pid()
	denied := testnet.DialFrom(t, "127.0.0.2", at) // it gets its message, and does not close
	if _, err := io.ReadFull(denied, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.signal(unix.SIGUSR2)
	s.waitFor(`"msg":"upgraded: the new process serves"`)
	testnet.Eventually(t, "the new process serves", func() bool { return s.pid() != old && s.pid() != 0 })
	if !ended(old) {
		_ = unix.Kill(old, unix.SIGTERM)
	}
	testnet.Eventually(t, "the old process has ended", func() bool { return ended(old) })
	<-s.done
	if code := s.first.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the old process ends with status %d, want 0", code)
	}
	mustEcho(t, testnet.Dial(t, "tcp", at), "hello")
}

// TestUpgradeIsCanceledByAShutdown: SIGTERM while the new process starts means the service.
func TestUpgradeIsCanceledByAShutdown(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	s := newService(t, echoConfig("epoll", b.Addr))
	pid := s.pid()
	s.install("echo $$ > " + s.dir + "/started; exec sleep 60")
	s.signal(unix.SIGUSR2)
	var child int
	testnet.Eventually(t, "the new process has started", func() bool {
		text, _ := os.ReadFile(s.dir + "/started")
		_, err := fmt.Sscan(string(text), &child)
		return err == nil
	})
	s.signal(unix.SIGUSR2)
	s.waitFor(`"msg":"upgrade refused","reason":"an upgrade is under way"`)
	s.stop()
	if !ended(child) {
		t.Error("the new process is left")
	}
	<-s.done
	if !strings.Contains(s.logged(), `SIGTERM: the process is shutting down`) || s.first.ProcessState.ExitCode() != 0 || !ended(pid) {
		t.Errorf("exit status %d:\n%s", s.first.ProcessState.ExitCode(), s.logged())
	}
}

// TestVariableWithoutAnUpgrade: the variable of an upgrade is set by mistake.
func TestVariableWithoutAnUpgrade(t *testing.T) {
	for _, value := range []string{"", "x", "1", "99"} {
		t.Setenv("L4PROXY_UPGRADE_FD", value)
		var stderr strings.Builder
		if code := execute([]string{"run", "-c", "none.yaml"}, io.Discard, &stderr); code != 1 ||
			!strings.Contains(stderr.String(), "only an upgrade sets this variable; unset it") {
			t.Errorf("%q: exit code %d: %s", value, code, stderr.String())
		}
	}
}

// TestNoUpgradeNow: what an upgrade cannot hand over makes it wait or fail.
func TestNoUpgradeNow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const first = "listeners: {web: {bind: '127.0.0.1:0'}}\npools: {web: {backends: ['127.0.0.1:1']}}\n"
	write(first)
	read := load(file)
	cfg, files, err := read()
	if err != nil {
		t.Fatal(err)
	}
	p, err := start(t.Context(), cfg, nil, io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	var serving sync.WaitGroup
	defer serving.Wait()
	if _, err := p.Upgrade(t.Context(), ""); !errors.Is(err, errNoProgram) {
		t.Errorf("of a process that cannot be started again: %v", err)
	}
	p.upgrades.program = thisProgram()
	p.upgrades.program.Binary = filepath.Join(dir, "none")
	p.allowReload(read, files)
	serving.Go(func() { _ = p.serve(signals) })
	write(strings.Replace(first, "127.0.0.1:1", "127.0.0.1:2", 1))
	if _, err := p.reloader.Reload(t.Context(), control.Request{Source: "test", Confirm: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Upgrade(t.Context(), ""); !errors.Is(err, control.ErrUnconfirmed) {
		t.Errorf("with an unconfirmed configuration: %v", err)
	}
	if err := p.reloader.Keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Upgrade(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("with a confirmed one: %v", err)
	}
	if _, err := p.reloader.Reload(t.Context(), control.Request{Source: "test"}); err != nil {
		t.Errorf("a reload after a failed upgrade: %v", err)
	}
	signals <- unix.SIGTERM
	serving.Wait()
	if _, err := p.Upgrade(context.Background(), ""); !errors.Is(err, errShuttingDown) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPIDFile(t *testing.T) {
	dir := t.TempDir()
	f := pidFile(filepath.Join(dir, "pid"))
	if err := os.WriteFile(string(f), []byte("99999999\n"), 0o644); err != nil { // of a killed process
		t.Fatal(err)
	}
	if err := f.write(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(string(f)); string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the file has %q", text)
	}
	f.remove()
	if _, err := os.Stat(string(f)); err == nil {
		t.Error("the file is left")
	}
	if err := os.WriteFile(string(f), []byte("1\n"), 0o644); err != nil { // of the next process
		t.Fatal(err)
	}
	f.remove()
	if _, err := os.Stat(string(f)); err != nil {
		t.Error("the file of another process was removed")
	}
	if err := pidFile(filepath.Join(dir, "none", "pid")).write(); err == nil || !strings.Contains(err.Error(), "choose a directory that exists") {
		t.Errorf("error %v", err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("%d files are left", len(all))
	}
	if err := pidFile("").write(); err != nil {
		t.Error(err)
	}
	pidFile("").remove()
}
