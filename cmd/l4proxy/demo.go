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
	demoBackends = 3
)

// The whole of 127.0.0.0/8 is this machine, so a demo on it can have clients with addresses of
// their own.
var (
	demoDenied  = netip.MustParseAddr("127.0.0.13")
	demoTraffic = netip.MustParseAddr("127.0.0.20")
)

func newDemoCommand() *cobra.Command {
	var listen, admin string
	var traffic bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the proxy at work with built-in backends; needs no setup",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("admin") && !free(admin) {
				admin = "" // of another l4proxy: the demo can do without
			}
			return runDemo(listen, admin, traffic, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&admin, "admin", demoAdmin, "admin address, host:port or unix:/path; by default, none if that one is taken")
	cmd.Flags().StringVar(&listen, "listen", demoListen, "address to listen on, host:port")
	cmd.Flags().BoolVar(&traffic, "traffic", false, fmt.Sprintf("add a light load of %d connections per second", demo.Rate))
	return cmd
}

// free reports whether no program listens on a TCP address.
func free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func runDemo(listen, admin string, traffic bool, stdout, stderr io.Writer) error {
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
	cfg, err := demoConfig(listen, admin, backends)
	if err != nil {
		return err
	}

	// Not SIGHUP: the demo ends with its terminal.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	starting, started := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer started()
	p, err := startUnlessStopped(starting, cfg, nil, stderr, nil)
	if err != nil {
		return failure{explainDemo(listen, admin, err)}
	}
	addr := p.server.Addrs()[0].Bind.Addr.String()
	fmt.Fprint(stdout, demoWelcome(addr, p.admin.address(), backends, traffic))
	load := demo.NewTraffic(reachable(addr), demoTraffic)
	if traffic {
		// It ends with the signal. drain.delay keeps the proxy accepting for longer than that
		// takes.
		ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
		defer stop()
		running.Go(func() { load.Run(ctx) })
	}
	err = p.serve(signals)
	if sent, failed := load.Counts(); traffic {
		fmt.Fprintf(stdout, "traffic: %d requests, %d failed\n", sent, failed)
	}
	return err
}

// demoConfig is a configuration as a user could have written it.
func demoConfig(listen, admin string, backends []*demo.Backend) (*config.Config, error) {
	if host, port, err := net.SplitHostPort(listen); err != nil || strings.Contains(port, "-") || host == "unix" {
		return nil, fmt.Errorf("--listen %q: write host:port, such as %s", listen, demoListen)
	}
	type object map[string]any
	var addresses []string
	for _, b := range backends {
		addresses = append(addresses, b.Addr())
	}
	all := object{
		"log":   object{"format": "text"},
		"drain": object{"delay": "100ms", "timeout": "1s"},
		"listeners": object{"demo": object{
			"bind": listen,
			"acl":  []object{{"deny": demoDenied.String()}},
		}},
		"pools": object{"demo": object{"backends": addresses}},
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

func demoWelcome(addr, admin string, backends []*demo.Backend, traffic bool) string {
	var b strings.Builder
	var served []string
	for _, backend := range backends {
		served = append(served, fmt.Sprintf("%s (%s)", backend.Name(), backend.Addr()))
	}
	url := reachable(addr)
	fmt.Fprintf(&b, "l4proxy listens on %s, in front of %s.\n\n", addr, strings.Join(served, ", "))
	fmt.Fprintf(&b, "Try these in another terminal, each several times, and watch the log below:\n")
	fmt.Fprintf(&b, "  curl %-24s the backends take turns\n", url)
	fmt.Fprintf(&b, "  curl %-24s the backend that answers refuses connections for %v; the others take over\n", url+"/stop", demo.Pause)
	if strings.HasPrefix(url, "127.") {
		fmt.Fprintf(&b, "  curl --http0.9 --interface %s %s\n%31s a client that the access control list denies\n", demoDenied, url, "")
	}
	if admin != "" {
		fmt.Fprintf(&b, "  l4proxy status --admin %s\n%31s how the proxy and its backends are doing\n", admin, "")
	}
	if !traffic {
		fmt.Fprintf(&b, "\n--traffic adds a light load.\n")
	}
	fmt.Fprintf(&b, "\nFor your own backends, write config.json as in README.md, and run l4proxy. Ctrl-C ends the demo.\n\n")
	return b.String()
}
