package peers

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds every wait for something that should happen at once.
	patience = 10 * time.Second
	// commandLimit bounds a client that does work.
	commandLimit = 30 * time.Second
)

// command is a program to run.
type command struct {
	argv   []string
	dir    string
	env    []string            // added to that of the test
	user   *syscall.Credential // nil: that of the test
	stdin  io.Reader
	stdout io.Writer      // nil: kept
	stop   syscall.Signal // asks a process to end; 0 is SIGTERM
}

func (c command) build(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Env = append(cmd.Env, c.env...)
	cmd.Stdin = c.stdin
	// Its own process group, so that its children can be ended with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.user}
	cmd.WaitDelay = patience
	return cmd
}

func (c command) name() string { return filepath.Base(c.argv[0]) }

// run runs the program to its end and returns its stdout. The test fails if the program fails.
func (c command) run(t testing.TB) string {
	t.Helper()
	stdout, stderr, err := c.try()
	if err != nil {
		t.Fatalf("%s: %v\nstdout: %s\nstderr: %s", strings.Join(c.argv, " "), err, tail(stdout), tail(stderr))
	}
	return stdout
}

// try is run for a program that may fail.
func (c command) try() (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd := c.build(ctx)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), errs.String(), err
}

// process is a program that runs in parallel to the test.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr output
	exited         chan struct{} // closed after the process was waited for
}

// start starts a program, which is ended no later than the test. If the command has no stdin, the
// process gets a pipe for the test to write to.
func (c command) start(t testing.TB) *process {
	t.Helper()
	p := &process{name: c.name(), cmd: c.build(context.Background()), exited: make(chan struct{})}
	p.stdout.changed, p.stderr.changed = make(chan struct{}), make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if c.stdin == nil {
		var err error
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // callers that care check how it ended
	}()
	stop := c.stop
	if stop == 0 {
		stop = syscall.SIGTERM
	}
	t.Cleanup(func() { p.end(t, stop) })
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end asks the process to end, and kills its process group if it does not.
func (p *process) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	_ = p.cmd.Process.Signal(signal) // it may already have ended
	if !p.ended() {
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.exited
		t.Errorf("%s did not end at %v within %v\n%s", p.name, signal, patience, p.said())
	}
}

// ended waits for the process to end and reports whether it has.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(patience):
		return false
	}
}

// typed writes a line to the stdin of the process.
func (p *process) typed(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		t.Fatalf("%s takes no input: %v\n%s", p.name, err, p.said())
	}
}

// says waits until the output of the process matches the pattern, and returns the match and its
// groups.
func (p *process) says(t testing.TB, out *output, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	timeout := time.After(patience)
	for exited := p.exited; ; {
		text, changed := out.read()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-exited:
			exited = nil // its output is complete: check once more
			if text, _ := out.read(); !re.MatchString(text) {
				t.Fatalf("%s ended without saying %q\n%s", p.name, pattern, p.said())
			}
		case <-timeout:
			t.Fatalf("%s does not say %q within %v\n%s", p.name, pattern, patience, p.said())
		}
	}
}

// said returns what the process has written, for failure messages.
func (p *process) said() string {
	stdout, _ := p.stdout.read()
	stderr, _ := p.stderr.read()
	return "stdout: " + tail(stdout) + "\nstderr: " + tail(stderr)
}

func tail(text string) string {
	const most = 4000
	if len(text) > most {
		return "... " + text[len(text)-most:]
	}
	return text
}

// output is what a process has written so far.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed by the next write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

func (o *output) read() (text string, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}
