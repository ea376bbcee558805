package upgrade

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Variable names the descriptor of the new process's end of the socket.
const Variable = "L4PROXY_UPGRADE_FD"

// endPatience is how long a new process that has closed the socket may take to end, so that its
// exit status is known.
const endPatience = time.Second

// Program is how the new process is started: as the old one was.
type Program struct {
	// Binary is an absolute path.
	Binary string
	// Args are the arguments, without the name of the program.
	Args []string
	// Env is the environment; nil means that of this process.
	Env []string
	// Dir is the working directory; "" means that of this process.
	Dir string
	// Stdin, Stdout and Stderr are given to the new process; nil means those of this process.
	Stdin, Stdout, Stderr *os.File
}

// child is the new process, seen from the old one.
type child struct {
	*link
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and been waited for
}

// check reports in advance what execve(2) would refuse, with what to do about it.
func (p *Program) check() error {
	info, err := os.Stat(p.Binary)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: install the new binary there, or name another one", p.Binary)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: name the new binary", p.Binary)
	case unix.Access(p.Binary, unix.X_OK) != nil:
		return fmt.Errorf("%s is not executable: chmod +x it, or name another binary", p.Binary)
	}
	return nil
}

// start starts the new process. It inherits no descriptor but its streams and its end of the
// socket: all others of this process are close-on-exec.
func (p *Program) start() (*child, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	l, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close() // so that the end of the new process ends the socket
	c := &child{link: l, exited: make(chan struct{}), cmd: &exec.Cmd{
		Path:       p.Binary,
		Args:       append([]string{p.Binary}, p.Args...),
		Dir:        p.Dir,
		Stdin:      cmp.Or(p.Stdin, os.Stdin),
		Stdout:     cmp.Or(p.Stdout, os.Stdout),
		Stderr:     cmp.Or(p.Stderr, os.Stderr),
		ExtraFiles: []*os.File{theirs},
	}}
	env := p.Env
	if env == nil {
		env = os.Environ()
	}
	c.cmd.Env = append(without(env, Variable), Variable+"="+strconv.Itoa(firstExtra))
	if err := c.cmd.Start(); err != nil {
		l.close()
		return nil, fmt.Errorf("cannot start %s: %w", p.Binary, err)
	}
	go func() {
		_ = c.cmd.Wait() // leaves no zombie; the state is looked at
		close(c.exited)
	}()
	return c, nil
}

// firstExtra is the first descriptor after the streams (os/exec.Cmd.ExtraFiles).
const firstExtra = 3

// without returns env without a variable.
func without(env []string, name string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			kept = append(kept, e)
		}
	}
	return kept
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill ends the new process, and returns when it has ended. The socket stays open: what the process
// had sent can still be read.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
}

// how describes the end of the new process, "" if it has not ended.
func (c *child) how(patience time.Duration) string {
	select {
	case <-c.exited:
	case <-time.After(patience):
		return ""
	}
	return c.cmd.ProcessState.String()
}
