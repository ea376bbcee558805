package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

const (
	// upgradesUnderLoad and the rest are the load of TestFaultUpgrades, beside newPerSecond new
	// connections and longFlows long ones.
	upgradesUnderLoad = 20
	upgradeEvery      = 400 * time.Millisecond
	bulkFlows         = 4
	halfClosed        = 50
	queuedClients     = 10
	// stallProbes are long connections that ask all the time, to see each pause.
	stallProbes = 16
)

// service is a process with a pid file, and the processes that follow it.
type service struct {
	*process
	pidFile string
}

// serve starts a service. It is killed at the end of the test.
func serve(t *testing.T, s settings, change ...func(*exec.Cmd)) *service {
	t.Helper()
	v := &service{pidFile: filepath.Join(t.TempDir(), "pid")}
	t.Cleanup(func() {
		if pid := v.pid(); pid > 1 && !gone(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	v.process = run(t, s, append(change, func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "--pid-file", v.pidFile) })...)
	return v
}

// pid is the process that serves, 0 for none.
func (v *service) pid() int {
	text, _ := os.ReadFile(v.pidFile)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// gone reports whether a process has ended.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" Z"))
}

// upgrade upgrades, and waits until the old process has ended.
func (v *service) upgrade() {
	v.t.Helper()
	old := v.pid()
	_ = syscall.Kill(old, syscall.SIGUSR2)
	if !testnet.Within(testnet.Patience, func() bool { pid := v.pid(); return pid != 0 && pid != old && gone(old) }) {
		last := v.tail()
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", old))
		_ = syscall.Kill(old, syscall.SIGQUIT)
		testnet.Within(time.Second, func() bool { return gone(old) })
		v.t.Fatalf("the upgrade of process %d to %d does not end:\n%s\n%.300s\n%s", old, v.pid(), last, stat, strings.TrimPrefix(v.tail(), last))
	}
}

// abnormal are the log lines of connections that did not just end.
func (v *service) abnormal() []string {
	return slices.DeleteFunc(strings.Split(v.log(), "\n"), func(l string) bool {
		return !strings.Contains(l, `"msg":"connection"`) || strings.Contains(l, `"reason":"closed"`)
	})
}

// tail is the end of the log without connections.
func (v *service) tail() string {
	lines := slices.DeleteFunc(strings.Split(v.log(), "\n"), func(l string) bool { return strings.Contains(l, `"msg":"connection"`) })
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// end stops the service, and checks that it cleans up.
func (v *service) end() {
	v.t.Helper()
	pid := v.pid()
	_ = syscall.Kill(pid, syscall.SIGTERM)
	testnet.Eventually(v.t, "the service has ended", func() bool { return gone(pid) })
	for _, file := range []string{v.pidFile, v.socket} {
		if _, err := os.Stat(file); err == nil {
			v.t.Errorf("%s is left", file)
		}
	}
}

// TestFaultUpgrades upgrades 20 times under load: new connections, long ones, bulk transfers,
// half-closed connections, and clients in a queue. No client may notice more than a short stall,
// and every byte is checked.
func TestFaultUpgrades(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		echo := testnet.Serve(t, "tcp", "", func(c testnet.Conn) {
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute)) // long connections live as long as the test
			testnet.Echo(c)
		})
		released := make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		half := testnet.Serve(t, "tcp", "", func(c testnet.Conn) { // answers after the end of the upgrades
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
			n, err := testnet.Stream(7).Check(c, 65536)
			<-released
			if err == nil {
				_ = testnet.Stream(8).Send(c, n, 30000)
			}
		})
		t.Cleanup(release)
		front, halfFront, queueFront := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
		v := serve(t, settings{
			engine: engine, binds: []string{front}, backends: []string{echo.Addr},
			top: "log: {level: info}",
			listener: fmt.Sprintf("  half: {bind: %q, pool: half, timeouts: {half_close: 5m}}\n  queue: {bind: %q, pool: queue}\n",
				halfFront, queueFront),
			pool: fmt.Sprintf("  half: {backends: [%q]}\n  queue: {backends: [{address: %q, max_connections: 1}], queue: {size: 100, timeout: 5m}}\n",
				half.Addr, echo.Addr),
		})
		load := newUpgradeLoad(front)
		load.start(t)
		t.Cleanup(func() { load.ended.Store(true) })
		halves := load.halfClosed(t, halfFront)
		queued := load.queued(t, queueFront)

		began := time.Now()
		upgrades := rounds(upgradesUnderLoad)
		for i := range upgrades {
			time.Sleep(max(0, time.Until(began.Add(time.Duration(i)*upgradeEvery))))
			v.upgrade()
			load.upgrades.Add(1)
		}
		length := time.Since(began)
		time.Sleep(upgradeEvery)
		load.stop()
		release()
		var last sync.WaitGroup
		for _, finish := range append(halves, queued...) {
			last.Go(func() {
				if err := finish(); err != nil {
					load.fault(err)
				}
			})
		}
		last.Wait()
		t.Logf("%d upgrades in %v; %d new connections, %d rounds of %d long ones, %.1f GB in bulk, %d half-closed, %d queued; failed %d, reset %d",
			upgrades, length.Round(time.Millisecond), load.served.Load(), load.rounds.Load(), longFlows, float64(load.bulk.Load())/1e9,
			halfClosed, queuedClients, load.failed.Load(), load.reset.Load())
		t.Logf("answers that %d busy connections waited longest for, per upgrade: %s", stallProbes, load.stalls())
		t.Logf("old process: accepting paused %s; a batch of connections stood still %s", v.figure("accept_pause"), v.figure("longest_batch"))
		if load.failed.Load()+load.reset.Load() > 0 {
			t.Errorf("first error: %v\n%s", load.first.Load(), strings.Join(v.abnormal(), "\n"))
		}
		if n := strings.Count(v.log(), `"msg":"upgraded",`); n != upgrades {
			t.Errorf("%d upgrades are logged", n)
		}
		v.end()
	})
}

// figure returns the median and the maximum of a number of the log, in milliseconds.
func (v *service) figure(name string) string {
	var all []time.Duration
	for _, m := range regexp.MustCompile(`"`+name+`":([0-9.e-]+)`).FindAllStringSubmatch(v.log(), -1) {
		seconds, _ := strconv.ParseFloat(m[1], 64)
		all = append(all, time.Duration(seconds*1e9))
	}
	return percentiles(all)
}

func percentiles(all []time.Duration) string {
	if len(all) == 0 {
		return "unknown"
	}
	slices.Sort(all)
	at := func(share float64) float64 { return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, max %.2f ms", at(0.5), at(0.99), at(1))
}

// upgradeLoad are the clients of TestFaultUpgrades.
type upgradeLoad struct {
	*reloadCrowd
	ended    atomic.Bool
	bulk     atomic.Int64
	upgrades atomic.Int64
	mu       sync.Mutex
	longest  map[[2]int64]time.Duration // by connection and upgrade
}

func newUpgradeLoad(address string) *upgradeLoad {
	return &upgradeLoad{reloadCrowd: newReloadCrowd(address), longest: make(map[[2]int64]time.Duration)}
}

// start starts everything that goes on all the time.
func (l *upgradeLoad) start(t *testing.T) {
	l.clients.Go(func() { l.reloadCrowd.start(longFlows, newPerSecond, 0) })
	for i := range 20 { // lanes of new connections
		l.clients.Go(func() {
			ticker := time.NewTicker(20 * time.Second / newPerSecond)
			defer ticker.Stop()
			r := rand.New(rand.NewPCG(2, uint64(i)))
			for ; !l.ended.Load(); <-ticker.C {
				if err := l.visit(r); err != nil {
					l.fault(fmt.Errorf("new connection: %w", err))
				} else {
					l.served.Add(1)
				}
			}
		})
	}
	for i := range bulkFlows {
		c := l.dial(t, l.address)
		l.clients.Go(func() {
			if err := l.transfer(c, testnet.Stream(i)); err != nil {
				l.fault(fmt.Errorf("bulk: %w", err))
			}
		})
	}
	for i := range stallProbes {
		c := l.dial(t, l.address)
		l.clients.Go(func() {
			if err := l.probe(c, int64(i)); err != nil {
				l.fault(fmt.Errorf("busy connection: %w", err))
			}
		})
	}
}

// dial connects a client that may live for longer than a test's patience.
func (l *upgradeLoad) dial(t *testing.T, address string) testnet.Conn {
	t.Helper()
	c := testnet.Dial(t, "tcp", address)
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c
}

// transfer sends a stream through an echo server, and checks what comes back.
func (l *upgradeLoad) transfer(c testnet.Conn, s testnet.Stream) error {
	const piece = 1 << 18
	defer c.Close()
	sent := make(chan error, 1)
	total := int64(0)
	go func() {
		for !l.ended.Load() {
			if _, err := c.Write(s.Piece(total, piece)); err != nil {
				sent <- err
				return
			}
			total += piece
		}
		sent <- c.CloseWrite()
	}()
	got, err := s.Check(c, piece)
	l.bulk.Add(got)
	if failed := <-sent; err == nil {
		err = failed
	}
	if err == nil && got != total {
		err = fmt.Errorf("%d bytes of %d came back", got, total)
	}
	return err
}

// probe asks every millisecond, and notes the longest wait for an answer.
func (l *upgradeLoad) probe(c testnet.Conn, number int64) error {
	defer c.Close()
	for i := 0; !l.ended.Load(); i++ {
		began := time.Now()
		if err := ask(c, fmt.Sprintf("probe %d round %d", number, i)); err != nil {
			return err
		}
		took := time.Since(began)
		key := [2]int64{number, l.upgrades.Load()}
		l.mu.Lock()
		l.longest[key] = max(l.longest[key], took)
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (l *upgradeLoad) stalls() string {
	var all []time.Duration
	for _, took := range l.longest {
		all = append(all, took)
	}
	return percentiles(all)
}

// halfClosed opens connections whose clients have sent everything, and whose answers come later.
func (l *upgradeLoad) halfClosed(t *testing.T, address string) (finish []func() error) {
	t.Helper()
	for i := range halfClosed {
		n := int64(1 + i*7000)
		c := l.dial(t, address)
		if err := errors.Join(testnet.Stream(7).Send(c, n, 40000), c.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		finish = append(finish, func() error {
			defer c.Close()
			if err := testnet.Stream(8).CheckExactly(c, n, 65536); err != nil {
				return fmt.Errorf("half-closed: %w", err)
			}
			return nil
		})
	}
	return finish
}

// queued opens a connection that is served, and others that wait for it to end.
func (l *upgradeLoad) queued(t *testing.T, address string) (finish []func() error) {
	t.Helper()
	for i := range queuedClients + 1 {
		c := l.dial(t, address)
		if i == 0 {
			mustAsk(t, c, "first")
		} else if _, err := io.WriteString(c, "waiting"); err != nil {
			t.Fatal(err)
		}
		finish = append(finish, func() error {
			defer c.Close()
			if i == 0 {
				return ask(c, "first again")
			}
			p := make([]byte, 7)
			if _, err := io.ReadFull(c, p); err != nil || string(p) != "waiting" {
				return fmt.Errorf("queued client %d reads %q, %w", i, p, err)
			}
			return nil
		})
	}
	return finish
}

// stop ends everything that goes on.
func (l *upgradeLoad) stop() {
	l.ended.Store(true)
	l.reloadCrowd.stop()
}

// TestFaultKilledAfterUpgrades kills the process that serves after an upgrade with SIGKILL, and at
// once starts the next one. A pid file, a socket and sockets in TIME_WAIT are left behind.
func TestFaultKilledAfterUpgrades(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		front := freeAddress(t, "127.0.0.1")
		pidFile := filepath.Join(t.TempDir(), "pid")
		s := settings{engine: engine, backends: []string{b.Addr}, binds: []string{front}}
		s.file(t) // names the socket
		for range 3 {
			v := &service{process: run(t, s, func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "--pid-file", pidFile) }), pidFile: pidFile}
			testnet.Eventually(t, "the pid file is the new process's", func() bool { return v.pid() == v.cmd.Process.Pid })
			c := v.dial()
			mustAsk(t, c, "before")
			v.upgrade()
			mustAsk(t, c, "after")
			c.Close()
			mustAsk(t, testnet.Dial(t, "tcp", front), "new")
			pid := v.pid()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			testnet.Eventually(t, "it is gone", func() bool { return gone(pid) })
			for _, file := range []string{v.socket, pidFile} {
				if _, err := os.Stat(file); err != nil {
					t.Fatalf("the killed process leaves nothing behind: %v", err)
				}
			}
		}
		v := &service{process: run(t, s, func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "--pid-file", pidFile) }), pidFile: pidFile}
		c := v.dial()
		mustAsk(t, c, "hello")
		c.Close()
		v.end()
	})
}

// TestFaultUpgradeOfProcess1 upgrades a proxy that is process 1 of a pid namespace, as in a
// container. It stays as the parent of those that serve, and ends with the last one.
func TestFaultUpgradeOfProcess1(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		if os.Geteuid() != 0 {
			t.Skip("needs root, for a pid namespace")
		}
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr}}, func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			cmd.Args = append([]string{"/bin/sh", "-c", `mount -t proc proc /proc && exec "$0" "$@"`}, cmd.Args...)
			cmd.Path = "/bin/sh"
		})
		c := p.dial()
		mustAsk(t, c, "before")
		for i := range 3 { // process 1, then those that serve in its stead
			_ = p.cmd.Process.Signal(syscall.SIGUSR2)
			testnet.Eventually(t, "the next process serves", func() bool { return strings.Count(p.log(), `"msg":"upgraded",`) == i+1 })
			mustAsk(t, c, fmt.Sprint("after upgrade ", i))
			testnet.Eventually(t, "the old process has left", func() bool {
				return strings.Count(p.log(), `"msg":"stopped after the upgrade"`) == i+1
			})
		}
		if !p.alive() {
			t.Fatalf("process 1 has ended:\n%s", p.log())
		}
		testnet.Eventually(t, "process 1 holds no connection", func() bool { return p.openFiles() < 16 })
		c.Close()
		p.stop()
		if n := strings.Count(p.log(), `"msg":"stopped",`); n != 1 {
			t.Errorf("%d processes were shut down, want the one that serves:\n%s", n, p.log())
		}
	})
}

// TestFaultUpgradeBetweenVersions upgrades and downgrades between this program and one that speaks
// a newer version of the hand-over too, and sends what this one does not know. With a program that
// has no version in common, the upgrade is refused.
func TestFaultUpgradeBetweenVersions(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	builds := t.TempDir()
	build := func(formats string) string {
		path := filepath.Join(builds, "l4proxy-"+formats)
		out, err := exec.Command("go", "build", "-ldflags", "-X l4proxy/upgrade.testFormats="+formats, "-o", path, "l4proxy/cmd/l4proxy").CombinedOutput()
		if err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		return path
	}
	now, next, far := binary(t), build("1-2"), build("3-4")
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		link := filepath.Join(dir, "l4proxy")
		install := func(binary string) {
			if err := errors.Join(os.Symlink(binary, link+".new"), os.Rename(link+".new", link)); err != nil {
				t.Fatal(err)
			}
		}
		install(now)
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		v := serve(t, settings{engine: engine, backends: []string{b.Addr}}, func(cmd *exec.Cmd) { cmd.Path, cmd.Args[0] = link, link })
		c := v.dial()
		mustAsk(t, c, "before")
		for i, binary := range []string{next, next, now, now} {
			install(binary)
			v.upgrade()
			mustAsk(t, c, fmt.Sprint("after upgrade ", i))
			running, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", v.pid()))
			if err != nil || running != binary {
				t.Errorf("upgrade %d: %s runs, want %s (%v)", i, running, binary, err)
			}
		}
		install(far)
		serving := v.pid()
		_ = syscall.Kill(serving, syscall.SIGUSR2)
		testnet.Eventually(t, "the upgrade is refused", func() bool {
			return strings.Contains(v.log(), "the old process speaks hand-over format 1 and the new one 3 to 4")
		})
		mustAsk(t, c, "after the refused upgrade")
		if v.pid() != serving || gone(serving) {
			t.Errorf("process %d serves, want %d", v.pid(), serving)
		}
		c.Close()
		v.end()
	})
}
