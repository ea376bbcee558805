package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/bench/traffic"
	"l4proxy/internal/testenv"
)

// starting is a scenario that only starts peers, with a large configuration.
func starting(check func(bench)) scenario {
	return scenario{
		size: size{backends: 100, prefixes: 1000},
		run: func(_ context.Context, b bench) (measured, error) {
			check(b)
			return measured{}, nil
		},
	}
}

// visited is a scenario in which a few clients come to peers that are configured
// against failing backends, but no backend fails.
func visited() scenario {
	return scenario{
		size: size{failing: true},
		run: func(ctx context.Context, b bench) (measured, error) {
			c, err := b.startClient(ctx, traffic.ClientSpec{
				Work: traffic.Visit, Rate: 1000, Timeout: verifyTimeout, Backends: failingBackends, Connections: 20,
				RequestBytes: smallMessage, ResponseBytes: smallMessage, Verify: true,
				WarmUp: time.Millisecond, Duration: 20 * time.Millisecond,
			})
			if err != nil {
				return measured{}, err
			}
			result, err := c.wait()
			met := make(map[int]bool)
			for _, v := range result.Visits {
				met[v.Backend] = true
			}
			if err == nil && len(met) != failingBackends {
				err = fmt.Errorf("%d clients met backends %v", len(result.Visits), met)
			}
			return measured{}, err
		},
	}
}

// build returns the path of a program that it builds in the module in dir.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-C", dir, "-o", binary, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// plainPeer is the peer tcpproxy.
func plainPeer(t *testing.T) peer {
	t.Helper()
	peers, err := findPlainProxy(options{plainProxy: build(t, ".", "./plainproxy")})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(peers[0].version, "v0.") {
		t.Fatalf("version %q", peers[0].version)
	}
	return peers[0]
}

// Each peer is started in each place, as for a measurement: it accepts its
// configuration with many backends and an access control list, passes bytes, and
// refuses strangers.
func TestPeersInEveryPlace(t *testing.T) {
	for _, tool := range []string{"haproxy", "nginx"} {
		testenv.NeedTool(t, tool)
	}
	binary, plainProxy := build(t, "..", "./cmd/l4proxy"), build(t, ".", "./plainproxy")
	for network, unproxied := range map[string][]string{loopback: {"direct"}, namespaces: {"routed", "dnat"}} {
		t.Run(network, func(t *testing.T) {
			if network == namespaces {
				needNamespaces(t)
			}
			p, err := openPlace(t.Context(), network)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.close(); err != nil {
					t.Error(err)
				}
			}()
			l := testLab(t)
			l.place, l.engines, l.l4proxy, l.plainProxy = p, []string{"epoll"}, binary, plainProxy
			l.peers = slices.Concat(unproxied, []string{"haproxy", "nginx", "tcpproxy", "l4proxy"})
			peers, missing, err := findPeers(t.Context(), l.options)
			if err != nil || len(missing) > 0 || len(peers) != len(l.peers) {
				t.Fatalf("%d peers of %q, missing %q, error %v", len(peers), l.peers, missing, err)
			}
			for _, p := range peers {
				t.Run(p.name, func(t *testing.T) {
					s := starting(func(b bench) {
						if proxied := !slices.Contains(unproxied, p.name); proxied != (b.pid > 0) || proxied != (b.ready > 0) {
							t.Errorf("process %d, ready after %v", b.pid, b.ready)
						}
					})
					if p.noACL {
						s.size.prefixes = 0
					}
					if _, err := l.measure(t.Context(), p, s, 0); err != nil {
						t.Error(err)
					}
					if p.failover {
						if _, err := l.measure(t.Context(), p, visited(), 0); err != nil {
							t.Error(err)
						}
					}
					if network == namespaces {
						hasNoRules(t, l.place)
					}
				})
			}
		})
	}
}

// hasNoRules: the rules of dnat would lead the load past the other peers.
func hasNoRules(t *testing.T, p *place) {
	t.Helper()
	argv := append(p.proxy(), testenv.NeedTool(t, "nft"), "list", "ruleset")
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("nftables has rules: %v\n%s", err, out)
	}
}

// A peer that does not refuse strangers is not measured.
func TestAccessControlListThatAllowsAll(t *testing.T) {
	l := testLab(t)
	plain := plainPeer(t)
	s := starting(func(bench) { t.Error("measured") })
	const lacks = "has no access control list"
	if _, err := l.measure(t.Context(), plain, s, 0); err == nil || err.Error() != lacks {
		t.Errorf("error %v, want %s", err, lacks)
	}
	plain.noACL = false
	_, err := l.measure(t.Context(), plain, s, 0)
	if err == nil || !strings.Contains(err.Error(), "a client that is not allowed was served") {
		t.Errorf("error %v, want that a stranger was served", err)
	}
}
