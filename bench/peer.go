package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// peer is one way for bytes to reach the origin.
type peer struct {
	name    string
	version string
	// role is what its figures are used for.
	role role
	// command writes the configuration and returns the command line that serves it
	// in the foreground. Without a command there is no process: bytes go straight
	// to the origin or, if translated, to the proxy's address, which the kernel
	// rewrites to the origin's.
	command    func(setup) ([]string, error)
	translated bool
	// only is the network to which the peer is limited, if any.
	only string
	// noACL is set if the peer has no access control lists.
	noACL bool
	// failover is set if the peer can be configured against failing backends.
	failover bool
	// observed is set if the peer has an admin address, by which it is observed.
	observed bool
	// sni is set if the peer routes by the name in a ClientHello.
	sni bool
	// sendProxy is the version of the PROXY protocol that the backends get, if any.
	sendProxy string
	// beside, if set, is the peer that it is compared with, in place of the rivals.
	beside string
	// changes are the kinds of change that the peer can make while it runs.
	changes map[string]change
}

// lacks returns why p cannot run a scenario in a place, or "".
func (p peer) lacks(at *place, n size) string {
	switch {
	case p.only != "" && p.only != at.network:
		return "only with -network " + p.only
	case p.noACL && n.prefixes > 0:
		return "has no access control list"
	case !p.sni && n.sni != "":
		return "does not route by SNI"
	case !p.failover && n.failing:
		return "has nothing against failing backends"
	case n.change != "" && p.changes[n.change].apply == nil:
		return "has no " + n.change
	}
	return ""
}

type role string

const (
	ceiling role = "ceiling" // no proxy: shown for orientation
	shown   role = "shown"   // a proxy that l4proxy is not compared with
	rival   role = "rival"   // a proxy that l4proxy is compared with
	ours    role = "ours"    // l4proxy
)

// peerNames returns the names of all peers, in the order of the report.
func peerNames() []string {
	return []string{"direct", "routed", "dnat", "haproxy", "nginx", "tcpproxy", "l4proxy"}
}

// findPeers returns those of the chosen peers, or of "all", that are on this
// machine, and a line for each other one. HAPROXY_BIN and NGINX_BIN choose other
// builds.
func findPeers(ctx context.Context, o options) (found []peer, missing []string, err error) {
	names := o.peers
	if slices.Equal(names, []string{"all"}) {
		names = peerNames()
	}
	for _, name := range names {
		peers, err := findPeer(ctx, o, name)
		if errors.Is(err, errNoPeer) {
			return nil, nil, err
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		found = append(found, peers...)
	}
	return found, missing, nil
}

var errNoPeer = errors.New("no such peer")

func findPeer(ctx context.Context, o options, name string) ([]peer, error) {
	switch name {
	case "direct":
		return []peer{{name: name, role: ceiling, only: loopback, noACL: true}}, nil
	case "routed":
		return []peer{{name: name, role: ceiling, only: namespaces, noACL: true}}, nil
	case "dnat":
		return findDNAT(ctx)
	case "haproxy":
		return findHAProxy(ctx)
	case "nginx":
		return findNginx(ctx)
	case "tcpproxy":
		return findPlainProxy(o)
	case "l4proxy":
		return findL4proxy(ctx, o)
	}
	return nil, fmt.Errorf("%w: %q: there are %s", errNoPeer, name, strings.Join(peerNames(), ", "))
}

// findDNAT returns the kernel itself: it rewrites the address of each packet
// (nftables), without accepting a connection or copying a byte.
func findDNAT(ctx context.Context) ([]peer, error) {
	nft, err := findTool("nft")
	if err != nil {
		return nil, err
	}
	version, err := firstLine(ctx, nft, "--version")
	if err != nil {
		return nil, err
	}
	return []peer{{name: "dnat", version: version, role: ceiling, translated: true, only: namespaces, noACL: true}}, nil
}

func findHAProxy(ctx context.Context) ([]peer, error) {
	binary, err := findBinary("HAPROXY_BIN", "haproxy")
	if err != nil {
		return nil, err
	}
	version, err := firstLine(ctx, binary, "-v")
	if err != nil {
		return nil, err
	}
	return []peer{{
		name: "haproxy", version: version, role: rival, failover: true, sni: true, changes: haproxyChanges(binary),
		command: func(s setup) ([]string, error) {
			if err := s.restrict(""); err != nil {
				return nil, err
			}
			config, err := configure(s.template("haproxy.cfg"), s)
			return []string{binary, "-db", "-f", config}, err
		},
	}}, nil
}

func findNginx(ctx context.Context) ([]peer, error) {
	binary, err := findBinary("NGINX_BIN", "nginx")
	if err != nil {
		return nil, err
	}
	// nginx prints its version and how it was built to stderr.
	about, err := exec.CommandContext(ctx, binary, "-V").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s -V: %w", binary, err)
	}
	module, err := streamModule(string(about))
	if err != nil {
		return nil, err
	}
	version, _, _ := strings.Cut(string(about), "\n")
	command := func(s setup) ([]string, error) {
		s.StreamModule = module
		if err := s.restrict(" origin;"); err != nil {
			return nil, err
		}
		config, err := configure(s.template("nginx.conf"), s)
		return []string{binary, "-p", s.Dir, "-e", "stderr", "-c", config}, err
	}
	return []peer{{
		name: "nginx", version: strings.TrimPrefix(version, "nginx version: "), role: rival, failover: true, sni: true,
		command: command, changes: nginxChanges(command),
	}}, nil
}

var modulesPath = regexp.MustCompile(`--modules-path=(\S+)`)

// streamModule returns the module that nginx has to load to proxy TCP, or "" if it
// is built in. about is the output of nginx -V.
func streamModule(about string) (string, error) {
	if !strings.Contains(about, "--with-stream=dynamic") {
		if strings.Contains(about, "--with-stream") {
			return "", nil
		}
		return "", fmt.Errorf("nginx was built without stream")
	}
	match := modulesPath.FindStringSubmatch(about)
	if match == nil {
		return "", fmt.Errorf("nginx -V does not show --modules-path")
	}
	path := filepath.Join(match[1], "ngx_stream_module.so")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("stream module: %w", err)
	}
	return path, nil
}

func findL4proxy(ctx context.Context, o options) ([]peer, error) {
	// The peers run in directories of their own.
	binary, err := filepath.Abs(o.l4proxy)
	if err != nil {
		return nil, err
	}
	version, err := firstLine(ctx, binary, "version")
	if err != nil {
		return nil, err
	}
	var peers []peer
	for _, engine := range o.engines {
		command := func(s setup) ([]string, error) {
			s.Engine = engine
			if err := s.restrict(""); err != nil {
				return nil, err
			}
			config, err := configure(s.template("l4proxy.yaml"), s)
			return []string{binary, "run", "-c", config}, err
		}
		peers = append(peers, peer{
			name: "l4proxy " + engine, version: version, role: ours, failover: true, sni: true,
			command: command, changes: l4proxyChanges(command),
		})
	}
	return peers, nil
}

// findPlainProxy returns the program in plainproxy/.
func findPlainProxy(o options) ([]peer, error) {
	// The peers run in directories of their own.
	binary, err := filepath.Abs(o.plainProxy)
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	version := info.GoVersion
	for _, module := range info.Deps {
		if module.Path == "github.com/inetaf/tcpproxy" {
			version = module.Version + ", " + version
		}
	}
	return []peer{{
		name: "tcpproxy", version: version, role: shown, noACL: true,
		command: func(s setup) ([]string, error) {
			// As many threads run Go code at a time as others have workers.
			argv := []string{"env", fmt.Sprintf("GOMAXPROCS=%d", s.Workers), binary, s.Listen}
			argv = append(argv, s.Backends...)
			for _, front := range s.More {
				argv = append(append(argv, "+", front.Listen), front.Backends...)
			}
			return argv, nil
		},
	}}, nil
}

// findBinary returns the program that the environment variable contains, or else
// name.
func findBinary(variable, name string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return filepath.Abs(path)
	}
	return findTool(name)
}

// findTool returns the program name, also from /usr/sbin.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

func firstLine(ctx context.Context, argv ...string) (string, error) {
	output, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	line, _, _ := strings.Cut(string(output), "\n")
	return strings.TrimSpace(line), err
}
