package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// peer is one way for bytes to get to the origin.
type peer struct {
	name    string
	version string
	// role says what its figures are for.
	role role
	// command writes the configuration and returns the command line that
	// serves it in the foreground; nil for no proxy at all.
	command func(setup) ([]string, error)
}

type role int

const (
	ceiling role = iota // shown for orientation
	rival               // compared with
	ours                // what is judged
)

// findPeers returns the peers that were asked for and are on this machine, and
// a line for each that is not. HAPROXY_BIN and NGINX_BIN name other builds.
func findPeers(ctx context.Context, o options) (found []peer, missing []string, err error) {
	for _, name := range o.peers {
		var (
			peers []peer
			err   error
		)
		switch name {
		case "direct":
			peers = []peer{{name: name, role: ceiling}}
		case "haproxy":
			peers, err = findHAProxy(ctx)
		case "nginx":
			peers, err = findNginx(ctx)
		case "l4proxy":
			peers, err = findL4proxy(ctx, o)
		default:
			return nil, nil, fmt.Errorf("no peer %q: there are direct, haproxy, nginx, l4proxy", name)
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		found = append(found, peers...)
	}
	return found, missing, nil
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
		name: "haproxy", version: version, role: rival,
		command: func(s setup) ([]string, error) {
			config, err := configure("peers/haproxy.cfg.tmpl", s)
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
	return []peer{{
		name: "nginx", version: strings.TrimPrefix(version, "nginx version: "), role: rival,
		command: func(s setup) ([]string, error) {
			s.StreamModule = module
			config, err := configure("peers/nginx.conf.tmpl", s)
			return []string{binary, "-p", s.Dir, "-e", "stderr", "-c", config}, err
		},
	}}, nil
}

var modulesPath = regexp.MustCompile(`--modules-path=(\S+)`)

// streamModule returns the module that nginx, of which about is what -V prints,
// has to load to proxy TCP, or "" when that is built in.
func streamModule(about string) (string, error) {
	if !strings.Contains(about, "--with-stream=dynamic") {
		if strings.Contains(about, "--with-stream") {
			return "", nil
		}
		return "", fmt.Errorf("nginx was built without stream")
	}
	match := modulesPath.FindStringSubmatch(about)
	if match == nil {
		return "", fmt.Errorf("nginx does not say where its modules are")
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
		peers = append(peers, peer{
			name: "l4proxy " + engine, version: version, role: ours,
			command: func(s setup) ([]string, error) {
				s.Engine = engine
				config, err := configure("peers/l4proxy.yaml.tmpl", s)
				return []string{binary, "run", "-c", config}, err
			},
		})
	}
	return peers, nil
}

// findBinary returns the program that the environment names, or name where
// Debian has its daemons.
func findBinary(variable, name string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return filepath.Abs(path)
	}
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
