package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"l4proxy/bench/observe"
)

// observeCommand is the hidden command that observes a proxy, in a process of its own.
const observeCommand = "observe"

// observing is the line that an observer prints when all that it does has worked once.
const observing = "observing"

// runObserveCommand observes the proxy with that admin address until ctx ends. It prints
// [observing], and at the end what it has seen as a line of JSON.
func runObserveCommand(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, want an address", len(args))
	}
	seen, err := observe.Run(ctx, args[0], func() { fmt.Println(observing) })
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// observation is a running observer.
type observation struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	errors bytes.Buffer
}

// startObserver starts an observer on the machine of the proxy, and returns when it
// observes.
func (b bench) startObserver(ctx context.Context) (*observation, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o := &observation{}
	argv := append(b.place.proxy(), self, observeCommand, b.setup.Admin)
	o.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	o.cmd.Stderr = &o.errors
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	o.out = bufio.NewReader(out)
	if err := o.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := o.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != observing {
		_ = o.cmd.Process.Kill()
		_ = o.cmd.Wait() // it was killed, or has failed
		return nil, fmt.Errorf("the observer did not start: %s", tail(o.errors.Bytes()))
	}
	return o, nil
}

// stop ends the observer, and returns what it has seen.
func (o *observation) stop() (seen observe.Seen, err error) {
	_ = o.cmd.Process.Signal(syscall.SIGTERM) // it may have failed, which its output shows
	fault := json.NewDecoder(o.out).Decode(&seen)
	if err := errors.Join(o.cmd.Wait(), fault); err != nil {
		return seen, fmt.Errorf("the observer: %w: %s", err, tail(o.errors.Bytes()))
	}
	return seen, nil
}
