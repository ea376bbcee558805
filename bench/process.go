package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second // reading a million prefixes takes a while
	stopTimeout  = 3 * time.Second
)

// process is a server that the driver starts and stops.
type process struct {
	name    string
	cmd     *exec.Cmd
	started time.Time     // just before the fork
	log     string        // the file with its stdout and stderr
	done    chan struct{} // closed when it has been waited for

	stopOnce sync.Once
}

// start runs a command in a process group of its own, so that its children can be
// stopped with it. Its output goes to a file in dir.
func start(name, dir string, argv ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "output.log"), done: make(chan struct{})}
	output, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = output, output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		// If it matters how it ended, its log shows it.
		_ = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// awaitListening returns, to the millisecond, when a socket listens on port in the
// network namespace of the process, and fails if the process ends first. It reads
// that from /proc and does not connect: for iperf3 any connection is the start of a
// test.
func (p *process) awaitListening(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		up, err := listening(p.pid(), port)
		if up || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-p.done:
			return fmt.Errorf("%s ended while starting: %s", p.name, p.lastOutput())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on port %d: %s", p.name, port, p.lastOutput())
		}
	}
}

// stop ends the process with SIGTERM, then with SIGKILL, and its children too.
// When it returns their ports are free.
func (p *process) stop() { p.stopOnce.Do(p.end) }

func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
	}
	// The group still exists if workers have outlived their master.
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); {
		select {
		case <-p.done:
			reap(p.pid()) // orphans; the process itself has been waited for
		default:
		}
		if err := syscall.Kill(-p.pid(), syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			break
		}
		<-time.After(time.Millisecond)
	}
	<-p.done
}

// lastOutput returns the end of the process's output.
func (p *process) lastOutput() string {
	output, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return tail(output)
}

// tail returns the end of a process's output, for an error.
func tail(output []byte) string {
	output = bytes.TrimSpace(output)
	const most = 1000
	if len(output) > most {
		output = output[len(output)-most:]
	}
	if len(output) == 0 {
		return "no output"
	}
	return string(output)
}
