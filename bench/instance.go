package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// instance is a peer in service.
type instance struct {
	pid   int           // 0 where there is no process
	ready time.Duration // from the start of that process until it listened
	end   func() error
}

// startVerified puts p into service before an echo server, which is gone again
// when it returns, and passes bytes through both to b's target. Where there is
// an access control list, it also sees that somebody else is turned away.
func (l *lab) startVerified(ctx context.Context, p peer, set setup, b bench) (inst instance, err error) {
	echo, err := l.startEchoOrigin(ctx, b.setup)
	if err != nil {
		return instance{}, err
	}
	defer echo.stop()
	if inst, err = l.serve(ctx, p, set); err != nil {
		return instance{}, err
	}
	if err := l.verify(ctx, b.target); err != nil {
		return instance{}, errors.Join(fmt.Errorf("%s does not pass bytes on unharmed: %w", p.name, err), inst.end())
	}
	if set.Prefixes > 0 {
		if err := l.verify(ctx, "-refused", "-from", l.place.strangers.host(0), b.target); err != nil {
			return instance{}, errors.Join(fmt.Errorf("%s: %w", p.name, err), inst.end())
		}
	}
	return inst, nil
}

// serve puts p into service.
func (l *lab) serve(ctx context.Context, p peer, set setup) (instance, error) {
	if p.command == nil {
		if p.translated {
			return l.translate(ctx, set)
		}
		return instance{end: func() error { return nil }}, nil
	}
	argv, err := p.command(set)
	if err != nil {
		return instance{}, err
	}
	proxy, err := start(p.name, set.Dir, append(l.place.proxy(), argv...)...)
	if err != nil {
		return instance{}, err
	}
	if err := proxy.awaitListening(ctx, l.proxyPort); err != nil {
		proxy.stop()
		return instance{}, err
	}
	ready := time.Since(proxy.started)
	return instance{pid: proxy.pid(), ready: ready, end: func() error { proxy.stop(); return nil }}, nil
}

// translate has the kernel send what comes to the proxy's address on to the
// origin's.
func (l *lab) translate(ctx context.Context, set setup) (instance, error) {
	nft, err := findTool("nft")
	if err != nil {
		return instance{}, err
	}
	rules, err := configure("peers/dnat.nft.tmpl", set)
	if err != nil {
		return instance{}, err
	}
	if err := runAt(ctx, l.place.proxy(), nft, "-f", rules); err != nil {
		return instance{}, err
	}
	inst := instance{end: func() error {
		// Not with ctx: the rules must not outlive an interrupted measurement.
		return runAt(context.Background(), l.place.proxy(), nft, "delete", "table", "ip", "bench")
	}}
	// The kernel would remember a connection for two minutes after its end, and
	// at most nf_conntrack_max of them, which some seconds of load reach.
	const seconds = 5
	if err := setSysctl(ctx, l.place.proxy(), "net/netfilter/nf_conntrack_tcp_timeout_time_wait", seconds); err != nil {
		return instance{}, errors.Join(err, inst.end())
	}
	return inst, nil
}

func (l *lab) startEchoOrigin(ctx context.Context, set setup) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	echo, err := start("the echo origin", set.Dir, append(l.place.origin(), self, "echo", set.Listen)...)
	if err != nil {
		return nil, err
	}
	if err := echo.awaitListening(ctx, l.backendPort); err != nil {
		echo.stop()
		return nil, err
	}
	return echo, nil
}

// verify runs the command of that name where the clients are.
func (l *lab) verify(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return runAt(ctx, l.place.client(), append([]string{self, "verify"}, args...)...)
}

// runAt runs a command behind what leads to a site. What it printed is in the
// error.
func runAt(ctx context.Context, within []string, argv ...string) error {
	argv = append(within, argv...)
	if output, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(output))
	}
	return nil
}
