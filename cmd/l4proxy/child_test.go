package main

import (
	"bytes"
	"os/exec"
	"regexp"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// deadline bounds every wait of a script.
const deadline = 10 * time.Second

// child is a program that a script has started, and that runs beside the script.
type child struct {
	cmd            *exec.Cmd
	stdout, stderr output
	exited         chan struct{}
}

// output is what a child has written so far.
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

// startChild is the command start NAME PROGRAM [ARGUMENT...]. The program has the variables that
// the script's commands have set.
func startChild(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM [ARGUMENT...]")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := &child{cmd: exec.Command(path, args[2:]...), exited: make(chan struct{})}
	c.stdout.changed, c.stderr.changed = make(chan struct{}), make(chan struct{})
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	c.cmd.Dir = ts.MkAbs(".")
	c.cmd.Env = []string{"PATH=" + ts.Getenv("PATH")}
	s := stateOf(ts)
	for name := range s.variables {
		c.cmd.Env = append(c.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(c.cmd.Start())
	go func() {
		defer close(c.exited)
		_ = c.cmd.Wait() // the code is looked at
	}()
	ts.Defer(func() {
		_ = c.cmd.Process.Kill()
		<-c.exited
	})
	s.children[args[0]] = c
}

// waitfor is the command waitfor NAME stdout|stderr REGEXP [VARIABLE]. The variable gets what the
// first group matched.
func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: waitfor NAME stdout|stderr REGEXP [VARIABLE]")
	}
	c := childOf(ts, args[0])
	out := &c.stderr
	if args[1] == "stdout" {
		out = &c.stdout
	}
	pattern, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	timeout := time.After(deadline)
	exited := c.exited
	for {
		text, changed := out.read()
		if m := pattern.FindStringSubmatch(text); m != nil {
			if len(args) == 4 {
				stateOf(ts).set(ts, args[3], m[1])
			}
			return
		}
		select {
		case <-changed:
		case <-exited:
			exited = nil // look once more: all output has come
			if text, _ := out.read(); !pattern.MatchString(text) {
				ts.Fatalf("%s has ended without %s; %s:\n%s", args[0], args[2], args[1], text)
			}
		case <-timeout:
			ts.Fatalf("%s: no %s within %v; %s:\n%s", args[0], args[2], deadline, args[1], text)
		}
	}
}

// signalChild is the command signal NAME SIGTERM.
func signalChild(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || unix.SignalNum(args[1]) == 0 {
		ts.Fatalf("usage: signal NAME SIGTERM|SIGINT|SIGHUP|...")
	}
	ts.Check(childOf(ts, args[0]).cmd.Process.Signal(unix.SignalNum(args[1])))
}

// exited is the command exited NAME CODE. It waits for the program's end, and leaves what that
// wrote in NAME.stdout and NAME.stderr.
func exited(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: exited NAME CODE")
	}
	c := childOf(ts, args[0])
	select {
	case <-c.exited:
	case <-time.After(deadline):
		text, _ := c.stderr.read()
		ts.Fatalf("%s has not ended within %v; stderr:\n%s", args[0], deadline, text)
	}
	stdout, _ := c.stdout.read()
	stderr, _ := c.stderr.read()
	writeFile(ts, args[0]+".stdout", stdout)
	writeFile(ts, args[0]+".stderr", stderr)
	if got := c.cmd.ProcessState.String(); got != "exit status "+args[1] {
		ts.Fatalf("%s: %s, want exit status %s; stderr:\n%s", args[0], got, args[1], stderr)
	}
}

func childOf(ts *testscript.TestScript, name string) *child {
	c, ok := stateOf(ts).children[name]
	if !ok {
		ts.Fatalf("nothing was started as %s", name)
	}
	return c
}
