package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// copied replaces the link to the program by a copy, in a directory that all users can read: an
// upgrade by another user starts it from there.
func copied(t *testing.T) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		t.Helper()
		text, err := os.ReadFile(cmd.Path)
		if err == nil {
			err = os.WriteFile(cmd.Path+".copy", text, 0o755)
		}
		if err == nil {
			err = os.Rename(cmd.Path+".copy", cmd.Path)
		}
		if err == nil {
			err = os.Chmod(filepath.Dir(filepath.Dir(cmd.Path)), 0o755) // of the test
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// hasStatus compares a line of the status of each thread of the service.
func (s *service) hasStatus(name, want string) {
	s.t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.pid()))
	if len(tasks) == 0 {
		s.t.Fatal("no threads")
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // "" if the thread has ended
		m := regexp.MustCompile(`(?m)^` + name + `:\s*(.*?)\s*$`).FindSubmatch(text)
		if m != nil && strings.Join(strings.Fields(string(m[1])), " ") != want {
			s.t.Errorf("%s: %s of a thread is %s, want %s", task, name, m[1], want)
		}
	}
}

func newClient(t *testing.T, network, address string) {
	t.Helper()
	c := testnet.Dial(t, network, address)
	defer c.Close()
	mustEcho(t, c, "a new client")
}

// freeLowPort is an address with a port below 1024 on which no process listens.
func freeLowPort(t *testing.T) string {
	t.Helper()
	for port := 1023; port > 600; port-- {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.10:%d", port))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Skip("needs a free port below 1024")
	return ""
}

// TestPrivileges: a service that starts as root and becomes another user can still do everything
// that it has to: bind a low port at a reload, upgrade, update its pid file. What it has given up
// is the same afterwards.
func TestPrivileges(t *testing.T) {
	testenv.NeedRoot(t)
	daemon, err := user.Lookup("daemon")
	if err != nil {
		t.Skip("needs the user daemon")
	}
	for _, engine := range []string{"epoll", "io_uring"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "io_uring" {
				testenv.NeedIOURing(t)
			}
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			const confined = "user: daemon\nconfine: strict\n"
			s := newService(t, confined+echoConfig(engine, b.Addr), copied(t))
			check := func() {
				t.Helper()
				s.hasStatus("Uid", strings.Join([]string{daemon.Uid, daemon.Uid, daemon.Uid, daemon.Uid}, " "))
				s.hasStatus("CapPrm", fmt.Sprintf("%016x", 1<<unix.CAP_NET_BIND_SERVICE))
				s.hasStatus("CapBnd", fmt.Sprintf("%016x", 1<<unix.CAP_NET_BIND_SERVICE))
				s.hasStatus("NoNewPrivs", "1")
				s.hasStatus("Seccomp", "2")
				s.hasStatus("Seccomp_filters", "1")
			}
			at, front := s.address("web"), filepath.Join(s.dir, "front")
			quiet := testnet.Dial(t, "tcp", at)
			mustEcho(t, quiet, "before")
			check()
			low := freeLowPort(t)
			for i := range 2 {
				s.configure(confined + strings.Replace(echoConfig(engine, b.Addr), `["127.0.0.1:0"`, fmt.Sprintf(`["%s", "%s"`, at, low), 1))
				before := s.count(`"msg":"reloaded"`)
				s.signal(unix.SIGHUP)
				s.waitForMore(`"msg":"reloaded"`, before)
				newClient(t, "tcp", low)
				s.upgrade()
				check()
				mustEcho(t, quiet, fmt.Sprint("after upgrade ", i))
				newClient(t, "tcp", at)
				newClient(t, "unix", front)
				s.configure(confined + strings.Replace(echoConfig(engine, b.Addr), "127.0.0.1:0", at, 1))
				before = s.count(`"msg":"reloaded"`)
				s.signal(unix.SIGHUP)
				s.waitForMore(`"msg":"reloaded"`, before)
			}
			if n := s.count(`"msg":"confined","user":"daemon","capabilities":"net_bind_service","no_new_privs":true,"writes":"limited","syscalls_filtered":true}`); n != 3 {
				t.Errorf("%d lines say what is confined, want 3:\n%s", n, s.logged())
			}
			quiet.Close()
			// The directory of the pid file is root's, so the file is left, without a number.
			pid := s.pid()
			s.signal(unix.SIGTERM)
			testnet.Eventually(t, "the service ends", func() bool { return ended(pid) })
			if text, err := os.ReadFile(s.pidFile()); err != nil || len(text) > 0 {
				t.Errorf("the pid file has %q, %v", text, err)
			}
		})
	}
}

// TestUnreadableForTheUser: a start fails before anything is open, and names the file.
func TestUnreadableForTheUser(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	file, list := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "list.txt")
	text := "user: daemon\nlisteners: {web: {bind: '127.0.0.1:0', acl: [{allow: ['file:list.txt']}]}}\npools: {web: {backends: ['127.0.0.1:1']}}\n"
	for name, content := range map[string]string{file: text, list: "10.0.0.0/8\n"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(list, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("l4proxy", "run", "-c", file).CombinedOutput()
	want := file + ":1:7: user daemon cannot read " + list + ": "
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}
	check, err := exec.Command("l4proxy", "check", "-c", file).CombinedOutput()
	if err == nil || !strings.Contains(string(check), want) {
		t.Errorf("check: %v: %s\nwant %s", err, check, want)
	}
}

// TestUnderTheContainerProfile: packaging/container/seccomp.json allows everything that the proxy
// does, with both engines.
func TestUnderTheContainerProfile(t *testing.T) {
	program, err := exec.LookPath("under-profile")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := filepath.Abs("../../packaging/container/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	under := func(cmd *exec.Cmd) {
		cmd.Args = append([]string{program}, cmd.Args...)
		cmd.Path = program
		cmd.Env = append(cmd.Env, profileVariable+"="+profile)
	}
	for _, engine := range []string{"epoll", "io_uring"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "io_uring" {
				testenv.NeedIOURing(t)
			}
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			s := newService(t, echoConfig(engine, b.Addr)+"admin: {bind: 'unix:$DIR/admin'}\n", under)
			s.hasStatus("Seccomp_filters", "1")
			at := s.address("web")
			var stop atomic.Bool
			var running sync.WaitGroup
			c := testnet.Dial(t, "tcp", at)
			running.Go(func() {
				if err := flow(c, 1, &stop); err != nil {
					t.Error(err)
				}
			})
			newClient(t, "unix", filepath.Join(s.dir, "front"))
			s.configure(strings.Replace(echoConfig(engine, b.Addr)+"admin: {bind: 'unix:$DIR/admin'}\n", "127.0.0.1:0", at+`", "127.0.0.2:0`, 1))
			s.signal(unix.SIGHUP)
			s.waitFor(`"msg":"reloaded"`)
			s.upgrade()
			out, err := exec.Command("l4proxy", "status", "--admin", "unix:"+filepath.Join(s.dir, "admin")).CombinedOutput()
			if err != nil {
				t.Errorf("status: %v: %s", err, out)
			}
			stop.Store(true)
			running.Wait()
			s.stop()
			if n := s.count(`"msg":"l4proxy started".*"engine":"` + engine + `"`); n != 2 {
				t.Errorf("%d processes use %s, want 2", n, engine)
			}
			if s.count(`"level":"(WARN|ERROR)"`) > 0 || s.count(`"missing":`) > 0 {
				t.Errorf("something does not work under the profile:\n%s", s.logged())
			}
		})
	}
}
