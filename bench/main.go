// Command bench compares l4proxy with HAProxy and nginx on the same work.
//
// It drives binaries from outside and uses none of the proxy's code: each peer is
// a process with a configuration file written from a template in peers/, the same
// number of workers and no log. README.md describes the method and what the
// figures do not show.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are those of the command line.
type options struct {
	scenarios  []string
	peers      []string
	engines    []string
	l4proxy    string
	plainProxy string
	rounds     int
	workers    int
	duration   time.Duration
	noise      float64
	out        string
	keep       bool
	redraw     bool
	network    string
}

func parseOptions(args []string, output io.Writer) (options, error) {
	var (
		o                         options
		scenarios, peers, engines string
	)
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.StringVar(&scenarios, "scenario", strings.Join(quick, ","), "comma-separated, or all: "+strings.Join(scenarioNames(), ", "))
	flags.StringVar(&peers, "peers", "all", "comma-separated, or all: "+strings.Join(peerNames(), ", "))
	flags.StringVar(&engines, "engine", "io_uring,epoll", "comma-separated engines of l4proxy, one peer for each")
	flags.StringVar(&o.l4proxy, "l4proxy", "./l4proxy", "the `binary` to measure")
	flags.StringVar(&o.plainProxy, "plainproxy", besideThis("plainproxy"), "the `binary` of the peer tcpproxy")
	flags.IntVar(&o.rounds, "rounds", 5, "measurements per peer")
	flags.IntVar(&o.workers, "workers", runtime.NumCPU(), "event loops, threads or processes per peer")
	flags.DurationVar(&o.duration, "duration", 5*time.Second, "length of one measurement")
	flags.Float64Var(&o.noise, "noise", 0.4, "a figure is too noisy if its confidence interval is wider than this part of the median")
	flags.StringVar(&o.out, "out", filepath.Join("bench", "out"), "`directory` for the report and its pictures")
	flags.BoolVar(&o.keep, "keep", false, "keep the other scenarios of the report in -out")
	flags.BoolVar(&o.redraw, "redraw", false, "measure nothing, but rewrite the tables and pictures in -out from its report.json")
	flags.StringVar(&o.network, "network", loopback, "where load, proxy and origin run: loopback, or namespaces (needs root)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.workers < 1 || o.duration < time.Second {
		return o, fmt.Errorf("-rounds and -workers must be at least 1, -duration at least 1s")
	}
	o.scenarios = strings.Split(scenarios, ",")
	if scenarios == "all" {
		o.scenarios = scenarioNames()
	}
	o.peers = strings.Split(peers, ",")
	o.engines = strings.Split(engines, ",")
	return o, nil
}

// besideThis returns the path of a program in the folder of this one.
func besideThis(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func main() {
	if code, ok := runCommand(os.Args[1:]); ok {
		os.Exit(code)
	}
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if err == flag.ErrHelp {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.redraw {
		r, err := readReport(o.out)
		if err != nil {
			return err
		}
		return r.write(o.out, os.Stdout)
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "l4proxy-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()

	place, err := openPlace(ctx, o.network)
	if err != nil {
		return err
	}
	defer func() {
		if err := place.close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	lab, err := newLab(dir, o)
	if err != nil {
		return err
	}
	lab.place = place
	peers, missing, err := findPeers(ctx, o)
	if err != nil {
		return err
	}
	peers, elsewhere := lab.offers(peers)
	missing = append(missing, elsewhere...)
	for _, line := range missing {
		fmt.Fprintln(os.Stderr, "left out:", line)
	}
	report := report{Machine: describeMachine(ctx, o), Missing: missing, NoiseLimit: o.noise}
	report.Machine.Network = place.about
	for _, p := range peers {
		report.Peers = append(report.Peers, peerVersion{p.name, p.version})
	}
	for _, name := range o.scenarios {
		s, ok := findScenario(name)
		if !ok {
			return fmt.Errorf("no scenario %q: there are %s", name, strings.Join(scenarioNames(), ", "))
		}
		result, err := measureRounds(ctx, lab, s, peers, o.rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		result.Date = report.Machine.Date
		report.Results = append(report.Results, result)
	}
	if o.keep {
		if err := report.keep(o.out); err != nil {
			return err
		}
	}
	return report.write(o.out, os.Stdout)
}

// raiseFileLimit raises the soft limit of open files to the hard one. Unlike what
// the runtime does at start, that is for children too.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	limit.Cur = limit.Max
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}
