package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"l4proxy/bench/traffic"
)

// instance is a running peer.
type instance struct {
	pid   int           // 0 if it is no process
	ready time.Duration // from the start of that process until it listened
	end   func() error
}

// startVerified starts p in front of an echo server, which it stops before it
// returns, and passes bytes through both to b's target. With an access control
// list, it also checks that a client that is not on it is refused.
func (l *lab) startVerified(ctx context.Context, p peer, set setup, b bench) (inst instance, err error) {
	echo, err := b.startOrigin(traffic.OriginSpec{Work: traffic.Echo})
	if err != nil {
		return instance{}, err
	}
	defer echo.stop()
	if err := echo.awaitListening(ctx, l.backendPort); err != nil {
		return instance{}, err
	}
	if inst, err = l.serve(ctx, p, set); err != nil {
		return instance{}, err
	}
	if err := l.verify(ctx, append(openingFlag(b.opening), b.target)...); err != nil {
		return instance{}, errors.Join(fmt.Errorf("%s does not pass bytes unchanged: %w", p.name, err), inst.end())
	}
	if set.Prefixes > 0 {
		if err := l.verify(ctx, "-refused", "-from", l.place.strangers.host(0), b.target); err != nil {
			return instance{}, errors.Join(fmt.Errorf("%s: %w", p.name, err), inst.end())
		}
	}
	return inst, nil
}

// serve starts p.
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

// translate makes the kernel rewrite the proxy's address to the origin's.
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
		// Not with ctx: an interrupted measurement must not leave the rules behind.
		return runAt(context.Background(), l.place.proxy(), nft, "delete", "table", "ip", "bench")
	}}
	// By default the kernel remembers a connection for two minutes after its end,
	// and a few seconds of load would reach nf_conntrack_max.
	const seconds = 5
	if err := setSysctl(ctx, l.place.proxy(), "net/netfilter/nf_conntrack_tcp_timeout_time_wait", seconds); err != nil {
		return instance{}, errors.Join(err, inst.end())
	}
	return inst, nil
}

// verify runs the command of that name where the clients are.
func (l *lab) verify(ctx context.Context, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return runAt(ctx, l.place.client(), append([]string{self, "verify"}, args...)...)
}

// runAt runs a command with a prefix that leads to a site. An error contains its
// output.
func runAt(ctx context.Context, within []string, argv ...string) error {
	argv = append(within, argv...)
	if output, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(output))
	}
	return nil
}
