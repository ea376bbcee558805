package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// unit is l4proxy as systemd runs it. The test is the service manager.
type unit struct {
	t      *testing.T
	notify *net.UnixConn
	config string
	stored []int // what the process has put into the file descriptor store
}

func newUnit(t *testing.T, config string) *unit {
	t.Helper()
	dir := t.TempDir()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	u := &unit{t: t, notify: conn, config: filepath.Join(dir, "config.yaml")}
	t.Cleanup(func() {
		conn.Close()
		u.unstore()
	})
	if err := os.WriteFile(u.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *unit) unstore() {
	for _, fd := range u.stored {
		unix.Close(fd)
	}
	u.stored = nil
}

// run starts l4proxy with the stored sockets, as sd_listen_fds(3) describes it, and with variables.
func (u *unit) run(variables ...string) *exec.Cmd {
	u.t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec l4proxy run -c "$0"`, u.config)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+u.notify.LocalAddr().String(), "GORACE=atexit_sleep_ms=0",
		fmt.Sprintf("LISTEN_FDS=%d", len(u.stored)), "LISTEN_FDNAMES="+strings.Join(slices.Repeat([]string{"stored.web"}, len(u.stored)), ":"))
	cmd.Env = append(cmd.Env, variables...)
	for _, fd := range u.stored {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			u.t.Fatal(err)
		}
		f := os.NewFile(uintptr(dup), "")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stderr = new(bytes.Buffer)
	if err := testenv.Start(u.t, cmd); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if u.t.Failed() {
			u.t.Logf("the log:\n%s", cmd.Stderr)
		}
	})
	return cmd
}

// until reads notifications up to one that begins with want, and returns them. It stores what the
// process stores.
func (u *unit) until(want string) (all []string) {
	u.t.Helper()
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*253))
	for {
		_ = u.notify.SetReadDeadline(time.Now().Add(testnet.Patience))
		n, oobn, _, _, err := u.notify.ReadMsgUnix(data, oob)
		if err != nil {
			u.t.Fatalf("no %s after %q: %v", want, all, err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			u.t.Fatal(err)
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				u.t.Fatal(err)
			}
			u.stored = append(u.stored, fds...)
		}
		all = append(all, string(data[:n]))
		if strings.HasPrefix(string(data[:n]), want) {
			return all
		}
	}
}

func (u *unit) address() string {
	u.t.Helper()
	sa, err := unix.Getsockname(u.stored[0])
	if err != nil {
		u.t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func unitConfig(bind, backend string) string {
	return fmt.Sprintf("workers: 2\nlog: {format: json}\nlisteners: {web: {bind: %q, pool: web}}\npools: {web: {backends: [%q]}}\n", bind, backend)
}

func echoThrough(t *testing.T, c testnet.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello" {
		t.Fatalf("echo = %q, %v", p, err)
	}
}

// TestSystemdService is the life of a service: it stores its sockets, becomes ready, feeds the
// watchdog, reloads, crashes and comes back with the stored sockets, in which a client has waited.
// At the end it empties the store.
func TestSystemdService(t *testing.T) {
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	path := filepath.Join(t.TempDir(), "socket")
	u := newUnit(t, strings.Replace(unitConfig("X", b.Addr), `"X"`, fmt.Sprintf("[127.0.0.1:0, %q]", "unix:"+path), 1))
	cmd := u.run("WATCHDOG_USEC=40000")
	if got := u.until("READY=1\nSTATUS=Serving on 2 addresses"); len(got) != 2 || got[0] != "FDSTORE=1\nFDNAME=stored.web\nFDPOLL=0" {
		t.Errorf("notifications %q", got)
	}
	if len(u.stored) != 3 {
		t.Fatalf("%d sockets are stored, want 3", len(u.stored))
	}
	echoThrough(t, testnet.Dial(t, "tcp", u.address()))
	u.until("WATCHDOG=1")
	u.until("WATCHDOG=1")
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	u.until("RELOADING=1\nMONOTONIC_USEC=")
	if got := u.until("READY=1"); len(got) > 1 && strings.Contains(got[0], "FD") {
		t.Errorf("nothing has changed, and the store does: %q", got)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waits, alsoWaits := testnet.Dial(t, "tcp", u.address()), testnet.Dial(t, "unix", path)
	address, before := u.address(), len(u.stored)
	cmd = u.run()
	u.until("READY=1")
	echoThrough(t, waits)
	echoThrough(t, alsoWaits)
	late := testnet.Dial(t, "unix", path)
	echoThrough(t, late)
	if u.address() != address || len(u.stored) != 2*before {
		t.Errorf("%d sockets on %s, want the %d on %s once more", len(u.stored), u.address(), before, address)
	}

	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range []testnet.Conn{waits, alsoWaits, late} {
		c.Close()
	}
	want := []string{
		"FDSTOREREMOVE=1\nFDNAME=stored.web",
		"STOPPING=1\nSTATUS=Waiting for connections to end\nEXTEND_TIMEOUT_USEC=40000000", // 30s and a margin
	}
	if got := u.until("STOPPING=1"); !slices.Equal(got, want) {
		t.Errorf("notifications %q, want %q", got, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSystemdStoreFollowsReloads: the sockets of a new listener are stored, and those of a removed
// one are taken out.
func TestSystemdStoreFollowsReloads(t *testing.T) {
	const more = "listeners: {web: {bind: '127.0.0.1:0', pool: web}, more: {bind: '127.0.0.2:0', pool: web}}"
	before := unitConfig("127.0.0.1:0", "127.0.0.1:1")
	lines := strings.Split(before, "\n")
	lines[2] = more
	u := newUnit(t, before)
	cmd := u.run()
	u.until("READY=1")
	for _, step := range []struct{ config, change, status string }{
		{strings.Join(lines, "\n"), "FDSTORE=1\nFDNAME=stored.more\nFDPOLL=0", "READY=1\nSTATUS=Serving on 2 addresses"},
		{before, "FDSTOREREMOVE=1\nFDNAME=stored.more", "READY=1\nSTATUS=Serving on 1 addresses"},
		{"nonsense", "", "READY=1\nSTATUS=Serving on 1 addresses"},
	} {
		if err := os.WriteFile(u.config, []byte(step.config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
			t.Fatal(err)
		}
		u.until("RELOADING=1")
		want := []string{step.change, step.status}
		if step.change == "" {
			want = want[1:]
		}
		if got := u.until("READY=1"); !slices.Equal(got, want) {
			t.Errorf("notifications %q, want %q", got, want)
		}
	}
}

// TestSystemdMisfit: a socket that no listener binds to ends the start. The error names the socket.
func TestSystemdMisfit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	u := newUnit(t, unitConfig("127.0.0.2:0", "127.0.0.1:1"))
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec l4proxy run -c "$0"`, u.config)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=web", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	want := fmt.Sprintf("descriptor 3 (web) from systemd listens on %s, but listener web has no such bind: "+
		"write the same address in the bind and in ListenStream= of the socket unit", l.Addr())
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}
}

// TestSystemdSocketActivation: systemd's own tool opens the sockets, starts l4proxy with the first
// client, and that client is served.
func TestSystemdSocketActivation(t *testing.T) {
	tool := testenv.NeedTool(t, "systemd-socket-activate")
	program, err := exec.LookPath("l4proxy")
	if err != nil {
		t.Fatal(err)
	}
	b := testnet.Serve(t, "tcp", "", testnet.Echo)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := filepath.Join(t.TempDir(), "socket")
			bind := "unix:" + address
			if network == "tcp" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				address = l.Addr().String()
				bind = address
			}
			u := newUnit(t, unitConfig(bind, b.Addr))
			cmd := exec.Command(tool, "--listen="+address, "--fdname=web", "-E", "GORACE", program, "run", "-c", u.config)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			var log bytes.Buffer
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("the log:\n%s", &log)
				}
			})
			var c testnet.Conn
			testnet.Eventually(t, "the tool listens", func() bool {
				c, err = testnet.TryDial(network, address)
				return err == nil
			})
			defer c.Close()
			echoThrough(t, c)
			c.Close()
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if network == "unix" {
				if _, err := os.Lstat(address); err != nil {
					t.Errorf("the file belongs to the socket unit, and is gone: %v", err)
				}
			}
		})
	}
}

// TestSystemdUnits: systemd understands every line of the units, and sees a hardened service.
func TestSystemdUnits(t *testing.T) {
	tool := testenv.NeedTool(t, "systemd-analyze")
	program, err := exec.LookPath("l4proxy")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"l4proxy.service", "l4proxy.socket"} {
		text, err := os.ReadFile(filepath.Join("../../packaging/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("/usr/bin/l4proxy"), []byte(program)) // it has to exist
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	analyze := func(args ...string) {
		t.Helper()
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	analyze("verify", "./l4proxy.service", "./l4proxy.socket")
	analyze("security", "--offline=true", "--threshold=25", "./l4proxy.service") // 10 is exposed to 100
}
