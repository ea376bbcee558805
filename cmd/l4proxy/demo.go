package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"l4proxy/cmd/l4proxy/demo"
	"l4proxy/config"
)

const (
	demoListen   = "127.0.0.1:8080"
	demoAdmin    = "127.0.0.1:9901"
	demoFree     = "127.0.0.1:0" // the kernel chooses a port
	demoBackends = 3
)

// The whole of 127.0.0.0/8 is this machine, so a demo on it can have clients with addresses of
// their own.
var (
	demoDenied  = netip.MustParseAddr("127.0.0.13")
	demoTraffic = netip.MustParseAddr("127.0.0.20")
)

// demoOptions are what the flags of the demo say.
type demoOptions struct {
	listen, admin string
	traffic       bool
	// notes are printed first.
	notes []string
}

func newDemoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the proxy at work with built-in backends; needs no setup",
		Long: "Run the proxy with built-in backends, and print what to try. It needs no setup, and\n" +
			"leaves nothing behind.",
		Example: "  l4proxy demo\n" +
			"  l4proxy demo --traffic",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("listen") {
				o.instead(&o.listen, "--listen")
			}
			if !cmd.Flags().Changed("admin") {
				o.instead(&o.admin, "--admin")
			}
			return runDemo(o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.admin, "admin", demoAdmin, "address of the dashboard and the API, host:port or unix:/path; if the default is taken, a free port")
	cmd.Flags().StringVar(&o.listen, "listen", demoListen, "address to listen on, host:port; if the default is taken, a free port")
	cmd.Flags().BoolVar(&o.traffic, "traffic", false, fmt.Sprintf("add a light load of %d connections per second", demo.Rate))
	return cmd
}

// instead replaces a default address that another program has taken.
func (o *demoOptions) instead(address *string, flag string) {
	if l, err := net.Listen("tcp", *address); err == nil {
		_ = l.Close()
		return
	}
	o.notes = append(o.notes, fmt.Sprintf("%s is taken by another program, using a free port instead (%s sets another address).", *address, flag))
	*address = demoFree
}

func runDemo(o demoOptions, stdout, stderr io.Writer) error {
	backends, err := demo.Listen(demoBackends)
	if err != nil {
		return failure{err}
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, b := range backends {
		running.Go(func() { b.Run(ctx) })
	}
	cfg, err := demoConfig(&o, backends)
	if err != nil {
		return err
	}

	// Not SIGHUP: the demo ends with its terminal.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	starting, started := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer started()
	p, err := startUnlessStopped(starting, cfg, nil, stderr, nil, nil)
	if err != nil {
		return failure{explainDemo(o.listen, o.admin, err)}
	}
	p.admin.offer(demoFaults(backends))
	addr := p.server.Addrs()[0].Bind.Addr.String()
	fmt.Fprint(stdout, demoWelcome(&o, addr, p.admin.address(), backends))
	load := demo.NewTraffic(reachable(addr), demoTraffic, demoDenied)
	if o.traffic {
		// It ends with the signal. drain.delay keeps the proxy accepting for longer than that
		// takes.
		ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
		defer stop()
		running.Go(func() { load.Run(ctx) })
	}
	err = p.serve(signals)
	if sent, failed := load.Counts(); o.traffic {
		fmt.Fprintf(stdout, "traffic: %d requests, %d failed\n", sent, failed)
	}
	return err
}

// demoConfig is a configuration as a user could have written it: one that notices within seconds
// when a backend is stopped or hangs.
func demoConfig(o *demoOptions, backends []*demo.Backend) (*config.Config, error) {
	listen, admin := o.listen, o.admin
	if host, port, err := net.SplitHostPort(listen); err != nil || strings.Contains(port, "-") || host == "unix" {
		return nil, fmt.Errorf("--listen %q: write host:port, such as %s", listen, demoListen)
	}
	type object map[string]any
	var addresses []string
	for _, b := range backends {
		addresses = append(addresses, b.Addr())
	}
	all := object{
		// With a load, lines of connections would carry what to try out of sight within seconds.
		"log":   object{"format": "text", "connections": !o.traffic},
		"drain": object{"delay": "100ms", "timeout": "1s"},
		"listeners": object{"demo": object{
			"bind": listen,
			"acl":  []object{{"deny": demoDenied.String()}},
		}},
		"pools": object{"demo": object{
			"backends": addresses,
			"policy":   "least_conn",
			"connect":  object{"timeout": "1s"},
			// A backend that is slow passes: demo.Delay is less than timeout and first_byte.
			"health":  object{"type": "http", "path": demo.HealthPath, "interval": "1s", "timeout": "1500ms", "rise": 2, "fall": 2},
			"outlier": object{"failures": 2, "eject": "10s", "first_byte": "2s"},
			"on_down": "reset",
			"spread":  "1s",
		}},
	}
	if admin != "" {
		all["admin"] = object{"bind": admin}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse("demo.json", text, nil)
	var problems config.Problems
	if errors.As(err, &problems) { // what else could be wrong is ours
		flag, value := "--listen", listen
		if strings.HasPrefix(problems[0].Path, "admin") {
			flag, value = "--admin", admin
		}
		return nil, fmt.Errorf("%s %q: %s", flag, value, strings.TrimSuffix(problems[0].Msg+": "+problems[0].Fix, ": "))
	}
	if err != nil {
		return nil, err
	}
	cfg.File = "built-in" // for the log
	return cfg, nil
}

func explainDemo(listen, admin string, err error) error {
	switch {
	case !errors.Is(err, unix.EADDRINUSE):
		return err
	case errors.As(err, new(adminError)):
		return fmt.Errorf("%s is taken by another program: choose another address, such as --admin 127.0.0.1:0 for a free port", admin)
	}
	return fmt.Errorf("%s is taken by another program: choose another address, such as --listen 127.0.0.1:0 for a free port", listen)
}

// reachable is an address at which a client on this machine finds what listens on addr.
func reachable(addr string) string {
	at, err := netip.ParseAddrPort(addr)
	if err == nil && at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
	}
	return addr
}
