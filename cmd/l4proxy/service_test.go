package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// service is l4proxy under a name at which upgrades find their binary. Which process serves is what
// its pid file says.
type service struct {
	t      *testing.T
	dir    string
	config string
	log    string
	binary string // a symbolic link, as a package manager may leave one
	first  *exec.Cmd
	done   chan struct{} // the first process has ended
}

// newService starts l4proxy with a configuration, in which $DIR is a directory of the test.
func newService(t *testing.T, yaml string, options ...func(*exec.Cmd)) *service {
	t.Helper()
	s := &service{t: t, dir: t.TempDir(), done: make(chan struct{})}
	s.config, s.log = filepath.Join(s.dir, "config.yaml"), filepath.Join(s.dir, "log")
	s.binary = filepath.Join(s.dir, "l4proxy")
	s.configure(yaml)
	s.install("")
	s.start(options...)
	return s
}

func (s *service) start(options ...func(*exec.Cmd)) {
	s.t.Helper()
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	s.first = exec.Command(s.binary, "run", "-c", s.config, "--pid-file", s.pidFile())
	s.first.Stderr = out
	// The program that runs scripts forgets the path under which it was started, and looks for it.
	s.first.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PATH="+s.dir+":"+os.Getenv("PATH"))
	for _, o := range options {
		o(s.first)
	}
	if err := testenv.Start(s.t, s.first); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.done = done
	cmd := s.first
	go func() {
		defer close(done)
		_ = cmd.Wait() // its state is looked at
	}()
	s.t.Cleanup(func() {
		if pid := s.pid(); pid != 0 && !ended(pid) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = cmd.Process.Kill()
		<-done
	})
	s.waitFor(`"msg":"listening"`)
	testnet.Eventually(s.t, "the pid file is written", func() bool { return s.pid() == cmd.Process.Pid })
}

func (s *service) pidFile() string { return filepath.Join(s.dir, "pid") }

// pid is the serving process, 0 if there is none.
func (s *service) pid() int {
	text, _ := os.ReadFile(s.pidFile())
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// configure writes the configuration.
func (s *service) configure(yaml string) {
	s.t.Helper()
	text := "log: {format: json}\n" + strings.ReplaceAll(yaml, "$DIR", s.dir)
	if err := os.WriteFile(s.config, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// install puts a shell script where the binary is; "" puts l4proxy there.
func (s *service) install(script string) {
	s.t.Helper()
	next := s.binary + ".next"
	var err error
	if script == "" {
		var real string
		if real, err = exec.LookPath("l4proxy"); err == nil {
			err = os.Symlink(real, next)
		}
	} else {
		err = os.WriteFile(next, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
	}
	if err == nil {
		err = os.Rename(next, s.binary)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// logged is what all processes have logged so far.
func (s *service) logged() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// count is how often a line that matches was logged.
func (s *service) count(pattern string) int {
	return len(regexp.MustCompile(pattern).FindAllString(s.logged(), -1))
}

// waitFor waits for a line that matches.
func (s *service) waitFor(pattern string) { s.t.Helper(); s.waitForMore(pattern, 0) }

// waitForMore waits for more lines than there were.
func (s *service) waitForMore(pattern string, before int) {
	s.t.Helper()
	if !testnet.Within(testnet.Patience, func() bool { return s.count(pattern) > before }) {
		s.t.Fatalf("no more than %d lines with %s in the log:\n%s", before, pattern, s.logged())
	}
}

// address waits until a TCP listener listens, and returns its address.
func (s *service) address(listener string) string {
	s.t.Helper()
	line := regexp.MustCompile(`"listener":"` + listener + `","address":"([0-9][^"]+)"`)
	var m []string
	if !testnet.Within(testnet.Patience, func() bool { m = line.FindStringSubmatch(s.logged()); return m != nil }) {
		s.t.Fatalf("%s does not listen:\n%s", listener, s.logged())
	}
	return m[1]
}

// signal sends a signal to the serving process.
func (s *service) signal(sig unix.Signal) {
	s.t.Helper()
	if err := unix.Kill(s.pid(), sig); err != nil {
		s.t.Fatalf("process %d: %v\n%s", s.pid(), err, s.logged())
	}
}

// upgrade upgrades, and waits until the old process has ended.
func (s *service) upgrade() {
	s.t.Helper()
	old := s.pid()
	s.signal(unix.SIGUSR2)
	if !testnet.Within(testnet.Patience, func() bool { return s.pid() != old && s.pid() != 0 && ended(old) }) {
		s.t.Fatalf("the upgrade of process %d did not end:\n%s", old, s.logged())
	}
}

// failUpgrade upgrades, which must fail with an error that matches. The same process keeps serving.
func (s *service) failUpgrade(pattern string) {
	s.t.Helper()
	old, before := s.pid(), s.count(`"msg":"upgrade failed`)
	s.signal(unix.SIGUSR2)
	s.waitForMore(`"msg":"upgrade failed`, before)
	lines := regexp.MustCompile(`.*"msg":"upgrade failed: this process keeps serving".*`).FindAllString(s.logged(), -1)
	if last := lines[len(lines)-1]; !regexp.MustCompile(pattern).MatchString(last) {
		s.t.Errorf("the upgrade failed with %s, want %s", last, pattern)
	}
	if s.pid() != old || ended(old) {
		s.t.Fatalf("process %d serves, want %d:\n%s", s.pid(), old, s.logged())
	}
	testnet.Eventually(s.t, "the old process has no child", func() bool { return children(old) == 0 })
}

// stop ends the service, and waits for it.
func (s *service) stop() {
	s.t.Helper()
	pid := s.pid()
	s.signal(unix.SIGTERM)
	if !testnet.Within(testnet.Patience, func() bool { return ended(pid) }) {
		s.t.Fatalf("process %d does not end:\n%s", pid, s.logged())
	}
	if s.pid() != 0 {
		s.t.Errorf("the pid file is left, with %d", s.pid())
	}
}

// stat are the fields of a process after its name (proc_pid_stat(5)); nil if there is none.
func stat(pid int) [][]byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
}

// ended reports whether a process no longer runs. A zombie does not: the process that should
// wait for it is not of this test.
func ended(pid int) bool {
	fields := stat(pid)
	return fields == nil || string(fields[0]) == "Z" || string(fields[0]) == "X"
}

// children is the number of child processes, zombies included.
func children(pid int) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if fields := stat(child); fields != nil && string(fields[1]) == strconv.Itoa(pid) {
			n++
		}
	}
	return n
}

// openFilesOf is the number of descriptors of a process.
func openFilesOf(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// settled waits until a number stops changing, and returns it.
func settled(t *testing.T, what string, number func() int) (n int) {
	t.Helper()
	n, same := number(), 0
	testnet.Eventually(t, what, func() bool {
		time.Sleep(5 * time.Millisecond)
		if now := number(); now != n {
			n, same = now, 0
		}
		same++
		return same > 20
	})
	return n
}
