package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// TestFaultThousandsOfPorts opens a listener with 8,000 ports, which is 16,000 sockets on two
// loops. That takes a second of CPU time at most. Searching all ports for each port would take
// several seconds.
func TestFaultThousandsOfPorts(t *testing.T) {
	const most = 2 * time.Second
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		hosts := []string{"[::1]", "[::]"}
		if testing.Short() {
			hosts = hosts[:1]
		}
		for _, host := range hosts {
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			p := run(t, settings{engine: engine, backends: []string{b.Addr}, binds: []string{host + ":20000-27999"}})
			if took := p.cpu(); took > most {
				t.Errorf("opening 8000 ports of %s took %v of CPU time, want less than %v", host, took, most)
			}
			for _, port := range []int{20000, 23456, 27999} {
				c := testnet.Dial(t, "tcp", fmt.Sprintf("[::1]:%d", port))
				mustAsk(t, c, "hello")
				c.Close()
			}
			p.stop()
		}
	})
}

// TestFaultLinkLocalListener listens on a link-local address, which needs the number of its
// interface. The log shows the address as configured.
func TestFaultLinkLocalListener(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	tool(t, "ip", "link", "add", "near0", "type", "veth", "peer", "name", "near1")
	tool(t, "ip", "link", "set", "near0", "up")
	tool(t, "ip", "link", "set", "near1", "up")
	tool(t, "ip", "addr", "add", "fe80::4:1/64", "dev", "near0", "nodad")
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "[fe80::4:1%near0]:0", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr},
			binds: []string{"[fe80::4:1%near0]:8080", "[fe80::4:1%near0]:0"}})
		c := testnet.Dial(t, "tcp", "[fe80::4:1%near0]:8080")
		mustAsk(t, c, "hello")
		c.Close()
		if log := p.log(); strings.Count(log, `"address":"[fe80::4:1%near0]:`) != 2 {
			t.Errorf("the log does not name both addresses:\n%s", log)
		}
		p.stop()
	})
}

// TestFaultSocketOwner sets another owner as an unprivileged user: startup fails with an error that
// says what to do, and leaves no file.
func TestFaultSocketOwner(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	testenv.NeedRoot(t)
	dir, err := os.MkdirTemp("", "l4proxy-faults-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, program := filepath.Join(dir, "front"), filepath.Join(dir, "l4proxy")
	text := "listeners: {web: {bind: \"unix:" + path + "\", mode: \"0660\", owner: root}}\npools: {web: {backends: [\"127.0.0.1:1\"]}}\n"
	data, err := os.ReadFile(binary(t))
	if err == nil {
		err = errors.Join(os.WriteFile(program, data, 0o755), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o644), os.Chmod(dir, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", filepath.Join(dir, "config.yaml"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	want := "l4proxy: " + filepath.Join(dir, "config.yaml") + ":1:25: listener web: cannot listen on unix:" + path + ": cannot change the owner of the socket: operation not permitted: " +
		"only root can set another user; other users can only set a group that they are a member of\n"
	if err == nil || string(out) != want {
		t.Errorf("%v: %s\nwant %s", err, out, want)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
