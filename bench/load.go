package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"l4proxy/bench/traffic"
)

// warmUp is the time under load before anything counts: congestion windows grow,
// and every peer gets the memory that it needs.
const warmUp = 500 * time.Millisecond

// The hidden commands of this program that generate and answer load in processes
// of their own, so that their CPU time is known.
const (
	clientCommand = "client"
	originCommand = "origin"
)

// measuring is the line that a client prints when it begins to count.
const measuring = "measuring"

// runClientCommand generates load. It prints [measuring] when it begins to count,
// and at the end its result as a line of JSON.
func runClientCommand(ctx context.Context, args []string) error {
	var spec traffic.ClientSpec
	if err := parseSpec(args, &spec); err != nil {
		return err
	}
	spec.Measuring = func() { fmt.Println(measuring) }
	result, err := traffic.RunClient(ctx, spec)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// runOriginCommand answers load until ctx ends.
func runOriginCommand(ctx context.Context, args []string) error {
	var spec traffic.OriginSpec
	if err := parseSpec(args, &spec); err != nil {
		return err
	}
	return traffic.RunOrigin(ctx, spec, func() {})
}

// parseSpec reads the one argument of a hidden command.
func parseSpec(args []string, spec any) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, want one in JSON", len(args))
	}
	return json.Unmarshal([]byte(args[0]), spec)
}

// argument returns a spec as that argument.
func argument(spec any) (string, error) {
	data, err := json.Marshal(spec)
	return string(data), err
}

// client is a running load generator.
type client struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	out    *bufio.Reader
	errors bytes.Buffer
}

// startClient starts load on b and returns when it begins to count.
func (b bench) startClient(ctx context.Context, spec traffic.ClientSpec) (*client, error) {
	if spec.Target == nil {
		spec.Target = []string{b.target}
	}
	spec.Sources = b.place.sources
	if spec.WarmUp == 0 {
		spec.WarmUp = warmUp
	}
	if spec.Duration == 0 {
		spec.Duration = b.duration
	}
	text, err := argument(spec)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &client{}
	ctx, c.cancel = context.WithCancel(ctx)
	argv := append(b.place.client(), self, clientCommand, text)
	c.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.cmd.Stderr = &c.errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := c.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != measuring {
		c.stop()
		return nil, fmt.Errorf("the load generator did not start: %s", c.stderr())
	}
	return c, nil
}

// wait returns the client's result when it has ended. A failed operation is an
// error.
func (c *client) wait() (traffic.ClientResult, error) {
	result, err := c.outcome()
	if err == nil && result.Failed > 0 {
		err = fmt.Errorf("%d operations of %d failed: %s", result.Failed, result.Failed+result.Operations, kinds(result.Failures))
	}
	return result, err
}

// outcome is like wait, but failed operations are no error.
func (c *client) outcome() (traffic.ClientResult, error) {
	var result traffic.ClientResult
	fault := json.NewDecoder(c.out).Decode(&result)
	err := c.cmd.Wait()
	c.cancel()
	if err != nil || fault != nil {
		return result, fmt.Errorf("load generator: %w: %s", errors.Join(err, fault), c.stderr())
	}
	return result, nil
}

// stop ends the client early.
func (c *client) stop() {
	c.cancel()
	_ = c.cmd.Wait() // it was killed
}

func (c *client) stderr() string { return strings.TrimSpace(c.errors.String()) }

func kinds(failures map[string]uint64) string {
	var all []string
	for _, sentence := range slices.Sorted(maps.Keys(failures)) {
		all = append(all, fmt.Sprintf("%d times %s", failures[sentence], sentence))
	}
	return strings.Join(all, "; ")
}

// load puts load on b and measures how much got through, how fast, and the CPU
// time. unit is the name of an operation.
func (b bench) load(ctx context.Context, unit string, spec traffic.ClientSpec) (measured, error) {
	result, used, err := b.drive(ctx, spec, b.pid)
	if err != nil {
		return measured{}, err
	}
	if result.Operations == 0 {
		return measured{}, fmt.Errorf("no %s was answered", unit)
	}
	f := figures{unit + "s/s": float64(result.Operations) / result.Seconds}
	addLatency(f, result)
	used[0].add(f, unit, float64(result.Operations))
	return measured{figures: f}, nil
}

// drive puts load on b until it is over, and returns what each of the processes
// used in the measured part.
func (b bench) drive(ctx context.Context, spec traffic.ClientSpec, pids ...int) (traffic.ClientResult, []spent, error) {
	var none traffic.ClientResult
	c, err := b.startClient(ctx, spec)
	if err != nil {
		return none, nil, err
	}
	var clocks []*clock
	for _, pid := range pids {
		clock, err := startClock(pid)
		if err != nil {
			c.stop()
			return none, nil, err
		}
		clocks = append(clocks, clock)
	}
	result, err := c.wait()
	if err != nil {
		return none, nil, err
	}
	var used []spent
	for _, clock := range clocks {
		s, err := clock.stop()
		if err != nil {
			return none, nil, err
		}
		used = append(used, s)
	}
	return result, used, nil
}

// runTool runs another load generator where the clients are, and returns its output
// and what the proxy used meanwhile.
func (b bench) runTool(ctx context.Context, name string, args ...string) (output []byte, used spent, err error) {
	clock, err := startClock(b.pid)
	if err != nil {
		return nil, spent{}, err
	}
	argv := slices.Concat(b.place.client(), []string{name}, args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	if output, err = cmd.Output(); err != nil {
		return nil, spent{}, fmt.Errorf("%s: %w: %s%s", name, err, output, errors.Bytes())
	}
	used, err = clock.stop()
	return output, used, err
}

func addLatency(f figures, result traffic.ClientResult) {
	f["p50 ms"], f["p90 ms"], f["p99 ms"] = result.Latency.P50, result.Latency.P90, result.Latency.P99
	f["p99.9 ms"], f["max ms"] = result.Latency.P999, result.Latency.Max
	f["generator late p99 ms"] = result.Late.P99
	f["generator CPU %"] = result.CPUSeconds / result.Seconds * 100
}

// startOrigin starts the origin of a kind of work on the address of b's backends.
func (b bench) startOrigin(spec traffic.OriginSpec) (*process, error) {
	return b.startOriginOn(b.setup.Listen, b.setup.Dir, spec)
}

func (b bench) startOriginOn(listen, dir string, spec traffic.OriginSpec) (*process, error) {
	spec.Listen = []string{listen}
	spec.ProxyHeader = b.setup.SendProxy != ""
	text, err := argument(spec)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start("the origin", dir, append(b.place.origin(), self, originCommand, text)...)
}
