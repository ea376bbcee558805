package faults

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// rounds is how often a test repeats something: a quarter of the usual number with -short, and at
// least three times.
func rounds(usual int) int {
	if testing.Short() {
		return max(3, usual/4)
	}
	return usual
}

// engines runs a test with each engine.
func engines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	testenv.NeedSuite(t, "faults")
	for _, engine := range []string{"io_uring", "epoll"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "io_uring" {
				testenv.NeedIOURing(t)
			}
			test(t, engine)
		})
	}
}

// freeAddress returns an address with a free port on the host.
func freeAddress(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// process is a running l4proxy.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	socket  string // path of its unix listener
	logFile string
	exited  chan struct{}
	err     error // after exited
}

// settings is the configuration of a process. Empty values mean the defaults.
type settings struct {
	engine   string
	socket   string   // default: in a directory of the test
	binds    []string // beside the socket
	options  string   // entries of bind in YAML, beside those
	noSocket bool     // only binds
	backends []string
	workers  int    // 0 is 2
	top      string // more lines of YAML: at the top,
	listener string // of the listener (indented by 4),
	pool     string // and of the pool (indented by 4)
}

// file writes the configuration and returns its path.
func (s *settings) file(t *testing.T) string {
	t.Helper()
	if s.socket == "" {
		s.socket = filepath.Join(t.TempDir(), "front")
	}
	quote := func(all []string) string {
		p, _ := json.Marshal(all)
		return string(p)
	}
	binds := s.binds
	if !s.noSocket {
		binds = append([]string{"unix:" + s.socket}, binds...)
	}
	bind := quote(binds)
	if s.options != "" {
		bind = strings.TrimSuffix(bind, "]") + ", " + s.options + "]"
	}
	text := fmt.Sprintf("engine: %s\nworkers: %d\n%s\nlisteners:\n  front:\n    bind: %s\n    pool: back\n%s\n"+
		"pools:\n  back:\n    backends: %s\n%s\n", s.engine, cmp.Or(s.workers, 2), s.top, bind, s.listener, quote(s.backends), s.pool)
	path := filepath.Join(t.TempDir(), "l4proxy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts l4proxy and waits until it listens. At the end of the test it is killed if it still
// runs.
func run(t *testing.T, s settings, change ...func(*exec.Cmd)) *process {
	t.Helper()
	cmd := exec.Command(binary(t), "run", "-c", s.file(t))
	p := &process{t: t, cmd: cmd, socket: s.socket, logFile: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{})}
	log, err := os.Create(p.logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	for _, f := range change {
		f(cmd)
	}
	if err := testenv.Start(t, cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.exited
	})
	testnet.Eventually(t, "l4proxy listens", func() bool {
		if !p.alive() {
			t.Fatalf("l4proxy has ended: %v\n%s", p.err, p.log())
		}
		if !strings.Contains(p.log(), `"listening"`) && cmd.Stderr == log {
			return false
		}
		network, address := "unix", p.socket
		if s.noSocket {
			network, address = "tcp", s.binds[0]
		}
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// fileLimit starts the process with a soft and hard limit of open files.
func fileLimit(t *testing.T, n int) func(*exec.Cmd) {
	t.Helper()
	prlimit := testenv.NeedTool(t, "prlimit")
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{prlimit, fmt.Sprintf("--nofile=%d:%d", n, n), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = prlimit
	}
}

// logTo makes the process log to a file.
func logTo(f *os.File) func(*exec.Cmd) { return func(cmd *exec.Cmd) { cmd.Stderr = f } }

// stop asks the process to end. The exit code must be 0.
func (p *process) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		if p.err != nil {
			p.t.Errorf("l4proxy: %v\n%s", p.err, p.log())
		}
	case <-time.After(testnet.Patience):
		p.t.Errorf("l4proxy does not stop\n%s", p.log())
	}
}

// dial connects a client to the unix listener.
func (p *process) dial() testnet.Conn {
	p.t.Helper()
	return testnet.Dial(p.t, "unix", p.socket)
}

func (p *process) log() string {
	b, _ := os.ReadFile(p.logFile)
	return string(b)
}

// record is a log line about a finished connection.
type record struct {
	Msg, Reason, Side, Backend string
	BytesIn                    int64   `json:"bytes_in"`
	BytesOut                   int64   `json:"bytes_out"`
	ConnectTime                float64 `json:"connect_time"`
	Attempts                   int
}

// records returns the log lines about connections, without those that run makes.
func (p *process) records() []record {
	var all []record
	for line := range bytes.Lines([]byte(p.log())) {
		var r record
		if json.Unmarshal(line, &r) == nil && r.Msg == "connection" && r.BytesIn+r.BytesOut+int64(r.Attempts) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// carried returns the number of ended connections to a backend.
func (p *process) carried(backend string) (n int) {
	for _, r := range p.records() {
		if r.Backend == backend {
			n++
		}
	}
	return n
}

// openFiles returns the number of open descriptors of the process.
func (p *process) openFiles() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// cpu returns the CPU time that the process has used.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	// proc_pid_stat(5): utime and stime are the 14th and 15th field, in ticks of 10 ms; the 2nd may
	// hold blanks.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	utime, err1 := strconv.Atoi(fields[11])
	stime, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		p.t.Fatalf("stat: %s", stat)
	}
	return time.Duration(utime+stime) * 10 * time.Millisecond
}

// mustAsk sends a message to an echo server and checks the answer.
func mustAsk(t *testing.T, c testnet.Conn, message string) {
	t.Helper()
	if err := ask(c, message); err != nil {
		t.Fatal(err)
	}
}

func ask(c testnet.Conn, message string) error {
	if _, err := c.Write([]byte(message)); err != nil {
		return err
	}
	p := make([]byte, len(message))
	for n := 0; n < len(p); {
		got, err := c.Read(p[n:])
		if n += got; err != nil && n < len(p) {
			return fmt.Errorf("after %d of %d bytes of the echo: %w", n, len(p), err)
		}
	}
	if string(p) != message {
		return fmt.Errorf("echo of %q = %q", message, p)
	}
	return nil
}
