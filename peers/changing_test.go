package peers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// changing is an l4proxy that is reloaded and upgraded while clients are connected. Unlike
// [l4proxy], it is several processes, one after the other. They share a process group and a log.
type changing struct {
	t         *testing.T
	file, log string
	group     int
	reloads   int
}

// startChanging runs the program with a configuration in the full form, and returns when all
// listeners are open. The processes are ended with the test.
func startChanging(t *testing.T, engine, config string) *changing {
	t.Helper()
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	p := &changing{t: t, file: filepath.Join(dir, "l4proxy.yaml"), log: filepath.Join(dir, "log")}
	p.configure(engine, config)
	// A file, because a pipe would end with the process that it was made for.
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "run", "-c", p.file)
	cmd.Stderr = log
	if err := testenv.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	p.group = cmd.Process.Pid
	exited := make(chan struct{})
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		for _, pid := range p.pids() {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		if !testnet.Within(patience, func() bool { return len(p.pids()) == 0 }) {
			for _, pid := range p.pids() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			t.Errorf("l4proxy did not end at SIGTERM\n%s", p.said())
		}
		<-exited
		if t.Failed() {
			t.Logf("l4proxy:\n%s", p.said())
		}
	})
	p.await(`"l4proxy started"`, 1)
	return p
}

// configure writes the configuration.
func (p *changing) configure(engine, config string) {
	p.t.Helper()
	config = fmt.Sprintf("log: {level: info, format: json}\nengine: %s\nworkers: 2\ndrain: {timeout: 30s}\n%s", engine, config)
	next := p.file + ".next"
	writeFile(p.t, next, []byte(config), 0o644)
	if err := os.Rename(next, p.file); err != nil {
		p.t.Fatal(err)
	}
}

// said returns what all processes have logged.
func (p *changing) said() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// await waits until a pattern occurs n times in the log.
func (p *changing) await(pattern string, n int) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	if !testnet.Within(patience, func() bool { return len(re.FindAllString(p.said(), -1)) >= n }) {
		p.t.Fatalf("the log does not have %d times %s\n%s", n, pattern, tail(p.said()))
	}
}

// port returns the TCP port of a listener.
func (p *changing) port(listener string) string {
	p.t.Helper()
	pattern := `"listening","listener":"` + listener + `","address":"([^"]+)"`
	p.await(pattern, 1)
	_, port, err := net.SplitHostPort(regexp.MustCompile(pattern).FindStringSubmatch(p.said())[1])
	if err != nil {
		p.t.Fatal(err)
	}
	return port
}

// pids returns the running processes of the group.
func (p *changing) pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		p.t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		// proc_pid_stat(5): the name may hold blanks; after it come the state, the parent and the
		// process group.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[2] == strconv.Itoa(p.group) && fields[0] != "Z" && fields[0] != "X" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// only returns the one process that runs.
func (p *changing) only() int {
	p.t.Helper()
	pids := p.pids()
	if len(pids) != 1 {
		p.t.Fatalf("%d processes: %v, want one\n%s", len(pids), pids, tail(p.said()))
	}
	return pids[0]
}

// reload has the process take a configuration.
func (p *changing) reload(engine, config string) {
	p.t.Helper()
	p.configure(engine, config)
	p.reloads++
	if err := syscall.Kill(p.only(), unix.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	p.await(`"msg":"reloaded"`, p.reloads)
}

// upgrade replaces the process, and returns when the old one has ended.
func (p *changing) upgrade() {
	p.t.Helper()
	old := p.only()
	if err := syscall.Kill(old, unix.SIGUSR2); err != nil {
		p.t.Fatal(err)
	}
	replaced := func() bool {
		pids := p.pids()
		return len(pids) == 1 && pids[0] != old
	}
	if !testnet.Within(patience, replaced) {
		p.t.Fatalf("processes %v, want one that is not %d\n%s", p.pids(), old, tail(p.said()))
	}
}
