package main

import (
	"bytes"
	"os"
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
	screen         output   // of a child on a terminal: what it shows now
	keyboard       *os.File // nil without a terminal
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

// set replaces what was written so far.
func (o *output) set(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
	o.text.WriteString(text)
	close(o.changed)
	o.changed = make(chan struct{})
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
	c := newChild(ts, args[1:])
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	ts.Check(c.cmd.Start())
	c.wait(ts, args[0], func() {})
}

// newChild prepares a child, without its standard streams.
func newChild(ts *testscript.TestScript, command []string) *child {
	path, err := exec.LookPath(command[0])
	ts.Check(err)
	c := &child{cmd: exec.Command(path, command[1:]...), exited: make(chan struct{})}
	for _, o := range []*output{&c.stdout, &c.stderr, &c.screen} {
		o.changed = make(chan struct{})
	}
	c.cmd.Dir = ts.MkAbs(".")
	c.cmd.Env = []string{"PATH=" + ts.Getenv("PATH")}
	s := stateOf(ts)
	for name := range s.variables {
		c.cmd.Env = append(c.cmd.Env, name+"="+ts.Getenv(name))
	}
	return c
}

// wait makes a child that has started known to the script, which ends it. end is called when it has
// ended.
func (c *child) wait(ts *testscript.TestScript, name string, end func()) {
	go func() {
		defer close(c.exited)
		_ = c.cmd.Wait() // the code is looked at
		end()
	}()
	ts.Defer(func() {
		_ = c.cmd.Process.Kill()
		<-c.exited
	})
	stateOf(ts).children[name] = c
}

// waitfor is the command waitfor NAME stdout|stderr|screen REGEXP [VARIABLE]. The variable gets
// what the first group matched.
func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: waitfor NAME stdout|stderr|screen REGEXP [VARIABLE]")
	}
	c := childOf(ts, args[0])
	out := &c.stderr
	switch args[1] {
	case "stdout":
		out = &c.stdout
	case "screen":
		out = &c.screen
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
