package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// short is the time that a test waits for a new process that hangs.
const short = 300 * time.Millisecond

// proxyProcess is an old process: an Old with connections that are socket pairs.
type proxyProcess struct {
	t        *testing.T
	sockets  []Socket
	state    State
	final    State
	conns    []proxy.Moved
	before   []proxy.Moved // as they were before anything moved
	peers    []int         // the other ends of the clients
	backends []int         // and of the backends, -1 for none
	stays    []proxy.Moved
	paused   int
	resumed  int
	moveErr  error
	onPause  func()
}

func newProxyProcess(t *testing.T, connections int) *proxyProcess {
	t.Helper()
	testnet.SameFiles(t)
	p := &proxyProcess{t: t, state: State{"start": json.RawMessage(`{"at":1}`)}, final: State{"counts": json.RawMessage(`[1,2]`)}}
	for i := range connections {
		m := proxy.Moved{Client: -1, Backend: -1, Listener: "web", Pool: "web", Accepted: int64(i)}
		var client, backend [2]int
		client = p.pair()
		m.Client, p.peers = client[0], append(p.peers, client[1])
		backend[1] = -1
		if i%3 != 0 { // the others are still dialling
			backend = p.pair()
			m.Backend = backend[0]
		}
		p.backends = append(p.backends, backend[1])
		m.Pending[0] = bytes.Repeat([]byte{byte(i)}, i*37%5000)
		m.Pending[1] = bytes.Repeat([]byte{byte(i + 1)}, i*11%3000)
		p.conns = append(p.conns, m)
	}
	t.Cleanup(func() {
		closeAll(p.peers)
		for _, fd := range p.backends {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		for _, m := range slices.Concat(p.conns, p.stays) {
			closeAll(descriptors(&m))
		}
	})
	return p
}

func (p *proxyProcess) pair() [2]int {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return fds
}

func (p *proxyProcess) Pause() ([]Socket, State, error) {
	p.paused++
	if p.onPause != nil {
		p.onPause()
	}
	return p.sockets, p.state, nil
}

func (p *proxyProcess) Resume() { p.resumed++ }

// Move gives up its connections in batches that do not fit into one message.
func (p *proxyProcess) Move(deliver Deliver) (left int, err error) {
	for len(p.conns) > 0 {
		n := min(250, len(p.conns))
		some := p.conns[:n]
		p.conns = p.conns[n:]
		left, err := deliver(some)
		if err != nil {
			p.stays = append(p.stays, some...)
			p.moveErr = err
			return len(p.conns) + len(p.stays), err
		}
		for i, m := range some {
			if slices.Contains(left, i) {
				p.stays = append(p.stays, m)
			} else {
				closeAll(descriptors(&m))
			}
		}
	}
	return len(p.stays), nil
}

func (p *proxyProcess) Final() State { return p.final }

// next is a new process as the test sees it.
type next struct {
	program Program
	stdin   *os.File // closing it ends the process
	out     *bufio.Reader
	outFile *os.File
}

func program(t *testing.T, mode string) *next {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &next{stdin: inWrite, out: bufio.NewReader(outRead), outFile: outRead}
	s.program = Program{Binary: binary, Stdin: inRead, Stdout: outWrite, Env: append(os.Environ(), modeEnv+"="+mode, "GORACE=atexit_sleep_ms=0")}
	t.Cleanup(func() {
		for _, f := range []*os.File{inRead, inWrite, outRead, outWrite} {
			f.Close()
		}
	})
	return s
}

// report waits for the line of a new process that has taken over.
func (s *next) report(t *testing.T) (r report) {
	t.Helper()
	_ = s.outFile.SetReadDeadline(time.Now().Add(testnet.Patience))
	line, err := s.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		t.Fatalf("report %q: %v", line, err)
	}
	return r
}

// upgrade runs an upgrade. The new process has been waited for at the end of the test.
func (p *proxyProcess) upgrade(to *next, limits Limits) (Result, error) {
	p.t.Helper()
	p.before = slices.Clone(p.conns)
	result, err := Run(p.t.Context(), Options{
		Program: to.program, Version: "old", Limits: limits, Log: slog.New(slog.DiscardHandler),
	}, p)
	if err == nil {
		p.t.Cleanup(func() {
			to.stdin.Close()
			ended(p.t, result.PID)
		})
	}
	return result, err
}

// ended waits until a process is neither running nor a zombie.
func ended(t *testing.T, pid int) {
	t.Helper()
	testnet.Eventually(t, "the new process has ended and was waited for", func() bool {
		return unix.Kill(pid, 0) == unix.ESRCH
	})
}

// checkMoved reads what the new process has written to every connection.
func (p *proxyProcess) checkMoved(moved func(i int) bool) {
	p.t.Helper()
	for i, peer := range p.peers {
		if !moved(i) {
			continue
		}
		want := lineOf(&p.before[i])
		for _, fd := range []int{peer, p.backends[i]} {
			if fd < 0 {
				continue
			}
			buffer := make([]byte, 200)
			n, err := unix.Read(fd, buffer)
			if err != nil || string(buffer[:n]) != want {
				p.t.Fatalf("connection %d: got %q, %v, want %q", i, buffer[:max(n, 0)], err, want)
			}
		}
	}
}

func TestEverythingArrives(t *testing.T) {
	for _, c := range []struct{ old, mode string }{{"", "good"}, {"", "next"}, {"1-2", "good"}, {"1-2", "next"}} {
		t.Run(fmt.Sprintf("formats %q to %s", c.old, c.mode), func(t *testing.T) {
			testFormats = c.old
			defer func() { testFormats = "" }()
			const connections = 1000
			p := newProxyProcess(t, connections)
			for i := range 300 { // more than a message holds
				l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				file, err := l.(*net.UnixListener).File()
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				p.sockets = append(p.sockets, Socket{Kind: KindListener, Name: fmt.Sprintf("l%d", i), Bind: l.Addr().String(), FD: int(file.Fd())})
			}
			to := program(t, c.mode)
			result, err := p.upgrade(to, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			r := to.report(t)
			p.checkMoved(func(int) bool { return true })
			if result.Moved != connections || result.Left != 0 || r.Moved != connections || len(p.stays) != 0 {
				t.Errorf("%d moved, %d left, %d arrived, %d stay", result.Moved, result.Left, r.Moved, len(p.stays))
			}
			if result.Version != "test "+c.mode || r.Old.Version != "old" || r.Old.PID != os.Getpid() || result.PID == 0 {
				t.Errorf("versions %q and %q, process %d, old process %d", result.Version, r.Old.Version, result.PID, r.Old.PID)
			}
			if len(r.Sockets) != 300 || r.Sockets[299] != "listener l299 "+p.sockets[299].Bind {
				t.Errorf("%d sockets arrived: %q", len(r.Sockets), r.Sockets)
			}
			if string(r.State["start"]) != `{"at":1}` || string(r.Final["counts"]) != `[1,2]` || r.Error != "" {
				t.Errorf("state %s, final state %s, error %s", r.State, r.Final, r.Error)
			}
			if p.paused != 1 || p.resumed != 0 {
				t.Errorf("paused %d times, resumed %d times", p.paused, p.resumed)
			}
			if result.Duration <= 0 || result.Pause <= 0 || result.LongestBatch <= 0 {
				t.Errorf("times are missing: %+v", result)
			}
		})
	}
}

// TestNewProcessInheritsOnlyItsEnd: sockets of connections that a new process inherited would stay
// open when the old process closes them.
func TestNewProcessInheritsOnlyItsEnd(t *testing.T) {
	p := newProxyProcess(t, 10)
	to := program(t, "good")
	if _, err := p.upgrade(to, Limits{}); err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, name := range to.report(t).Files {
		if strings.HasPrefix(name, "socket:") {
			sockets++
		}
	}
	if sockets != 1 {
		t.Errorf("the new process starts with %d sockets, want the one of the upgrade", sockets)
	}
}

// TestFailuresChangeNothing: whatever the new process does, the old one keeps everything, nothing
// of the new one is left, and the error says what happened.
func TestFailuresChangeNothing(t *testing.T) {
	limits := Limits{Hello: short, Check: short, Ready: short, Ack: short}
	patient := Limits{}
	for _, c := range []struct {
		mode   string
		limits Limits
		paused int
		want   string // in the error
	}{
		{"crash", patient, 0, "ended before it said hello: is it l4proxy? (exit status 3)"},
		{"hang", limits, 0, "did not answer within 300ms, before it said hello: is it l4proxy?"},
		{"deaf", patient, 0, `"HTTP/1.1 400 Bad" is not the header of a hand-over message`},
		{"crash-hello", patient, 0, "ended while it checked its configuration (exit status 4)"},
		{"far", patient, 0, "the old process speaks hand-over format 1 and the new one 3 to 4"},
		{"refuse", patient, 0, `the new process refuses to take over: config.yaml:3:7: unknown key "bakends": did you mean backends?`},
		{"crash-check", patient, 0, "ended while it checked its configuration (exit status 5)"},
		{"limited", patient, 0, "may open 20 files, but needs 30 for the connections"},
		{"crash-sockets", patient, 1, "ended while it took over the listening sockets (exit status 6)"},
		{"hang-sockets", limits, 1, "did not answer within 300ms, while it took over the listening sockets"},
		{"refuse-sockets", patient, 1, "the new process refuses to take over: listener web: cannot listen"},
		{"crash-ready", patient, 1, "ended while connections moved to it; those that had moved are lost (exit status 7)"},
		{"crash-batch", patient, 1, "ended while connections moved to it; those that had moved are lost (exit status 8)"},
		{"hang-batch", limits, 1, "did not answer within 300ms, while connections moved to it"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			const connections = 300
			p := newProxyProcess(t, connections)
			to := program(t, c.mode)
			options := Options{Program: to.program, Version: "old", Limits: c.limits, Log: slog.New(slog.DiscardHandler)}
			if c.mode == "limited" {
				options.Needs = 30
			}
			result, err := Run(t.Context(), options, p)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if unix.Kill(result.PID, 0) != unix.ESRCH {
				t.Errorf("process %d is left", result.PID)
			}
			if p.paused != c.paused || p.resumed != c.paused {
				t.Errorf("paused %d times, resumed %d times, want %d", p.paused, p.resumed, c.paused)
			}
			if n := len(p.conns) + len(p.stays); n != connections {
				t.Errorf("%d connections are left of %d", n, connections)
			}
			p.conns = append(p.stays, p.conns...) // as an old process adopts what comes back
			p.stays = nil
			good := program(t, "good")
			if result, err := p.upgrade(good, Limits{}); err != nil || result.Moved != connections {
				t.Errorf("the next upgrade moved %d connections, error %v", result.Moved, err)
			}
			good.report(t)
			p.checkMoved(func(int) bool { return true })
		})
	}
}

// TestAcknowledgedBatchIsNotTakenBack: the new process dies after it has acknowledged a batch. It
// may have read from these connections, so they end with it, and the rest stays.
func TestAcknowledgedBatchIsNotTakenBack(t *testing.T) {
	p := newProxyProcess(t, 300)
	result, err := p.upgrade(program(t, "crash-adopt"), Limits{})
	if err == nil || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("error %v", err)
	}
	if stay := len(p.conns) + len(p.stays); stay != 300-result.Moved || result.Moved < batchConnections || result.Moved > 2*batchConnections {
		t.Errorf("%d moved and %d stay", result.Moved, stay)
	}
	for i, peer := range p.peers[:result.Moved] {
		if n, err := unix.Read(peer, make([]byte, 1)); n != 0 && err != unix.ECONNRESET {
			t.Errorf("the client of lost connection %d reads %d, %v, want its end", i, n, err)
		}
	}
}

// TestTooManyOpenFiles: the kernel drops descriptors for which the new process has no room. That
// batch stays with the old process, whole.
func TestTooManyOpenFiles(t *testing.T) {
	p := newProxyProcess(t, 300)
	to := program(t, "poor")
	result, err := p.upgrade(to, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r := to.report(t)
	if result.Moved != 0 || r.Moved != 0 || len(p.conns)+len(p.stays) != 300 {
		t.Errorf("%d moved, %d arrived, %d stay", result.Moved, r.Moved, len(p.conns)+len(p.stays))
	}
	if p.moveErr == nil || !strings.Contains(p.moveErr.Error(), "too many open files: raise the limit") {
		t.Errorf("error %v", p.moveErr)
	}
	for _, m := range p.stays {
		if _, err := unix.Write(m.Client, []byte("x")); err != nil {
			t.Fatalf("a connection that stays is broken: %v", err)
		}
	}
}

// TestSomeStay: the new process does not know the listener of some connections.
func TestSomeStay(t *testing.T) {
	p := newProxyProcess(t, 300)
	to := program(t, "picky")
	result, err := p.upgrade(to, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	to.report(t)
	if result.Moved != 150 || result.Left != 150 || len(p.stays) != 150 {
		t.Errorf("%d moved, %d left, %d stay", result.Moved, result.Left, len(p.stays))
	}
	for _, m := range p.stays {
		if m.Accepted%2 == 0 {
			t.Errorf("connection %d stays", m.Accepted)
		}
	}
	p.checkMoved(func(i int) bool { return i%2 == 0 })
}

func TestManyPendingBytes(t *testing.T) {
	p := newProxyProcess(t, 12)
	for i := range p.conns {
		p.conns[i].Pending[0] = bytes.Repeat([]byte{byte(i)}, 3<<20+i)
	}
	p.conns[5].Pending[1] = make([]byte, maxRaw) // alone more than a message holds
	to := program(t, "good")
	result, err := p.upgrade(to, Limits{})
	if err != nil || result.Moved != 11 || len(p.stays) != 1 {
		t.Errorf("%d of 12 moved, %d stay, error %v", result.Moved, len(p.stays), err)
	}
	p.checkMoved(func(i int) bool { return i != 5 })
}

func TestNoSuchBinary(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "does not exist: install the new binary there, or name another one",
		dir:                        "is not a file: name the new binary",
		plain:                      "is not executable: chmod +x it, or name another binary",
		garbage:                    "cannot start " + garbage,
	} {
		p := newProxyProcess(t, 1)
		if _, err := Run(t.Context(), Options{Program: Program{Binary: path}}, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
		if p.paused != 0 {
			t.Error("accepting was paused")
		}
	}
}

// TestCanceled: a signal ends an upgrade at any step, until the new process is ready.
func TestCanceled(t *testing.T) {
	stop := fmt.Errorf("SIGTERM")
	for _, mode := range []string{"hang", "hang-sockets"} {
		p := newProxyProcess(t, 5)
		ctx, cancel := context.WithCancelCause(t.Context())
		p.onPause = func() { cancel(stop) }
		if mode == "hang" {
			time.AfterFunc(10*time.Millisecond, func() { cancel(stop) })
		}
		to := program(t, mode)
		began := time.Now()
		result, err := Run(ctx, Options{Program: to.program}, p)
		if err != stop || time.Since(began) > testnet.Patience/4 {
			t.Errorf("%s: error %v after %v", mode, err, time.Since(began))
		}
		if unix.Kill(result.PID, 0) != unix.ESRCH || p.paused != p.resumed || len(p.conns) != 5 {
			t.Errorf("%s: process %d is left, or the old one does not accept, or has only %d connections", mode, result.PID, len(p.conns))
		}
		cancel(nil)
	}
}
