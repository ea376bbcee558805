package main

import (
	"embed"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"text/template"
)

//go:embed peers/*.tmpl origins/*.tmpl load/*.lua
var files embed.FS

// body is the answer of the HTTP origin.
const body = "hello"

// setup is the data for the templates of peers and origins.
type setup struct {
	Dir            string
	Listen         string
	Admin          string // the admin address of l4proxy, if it has one
	Backends       []string
	Others         []string     // the backends after a change
	Change         string       // the kind of change under load, if any
	More           []front      // beside the first, in the scenario mix
	Failing        bool         // a backend is going to fail
	SNI            string       // the name by which clients are routed, if they are
	SendProxy      string       // the version of the PROXY protocol that backends get, if any
	Prefixes       int          // of the access control list; 0: no list
	Trusted        netip.Prefix // the prefix that contains the clients
	AllowList      string       // the file with the prefixes, in the peer's format
	Body           string
	Engine         string // of l4proxy
	StreamModule   string // of nginx, if it is not built in
	Workers        int
	MaxConnections int
	MaxPipes       int // of HAProxy
	FileLimit      uint64
	Root           bool
	Pin            bool // each worker to a CPU
	LastCPU        int
}

// front is a listener of a proxy and the pool behind it.
type front struct {
	Listen   string
	Backends []string
}

// usualBackends is the size of a pool unless the scenario sets another one.
const usualBackends = 4

// setup returns the configuration of a proxy for a scenario of a size.
func (l *lab) setup(dir string, n size) (setup, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return setup{}, os.NewSyscallError("getrlimit", err)
	}
	const (
		some  = 20_000
		spare = 500 // listening sockets, event queues, logs
	)
	files := min(limit.Cur, some)
	pipes := min(256, int(files)/20)
	s := setup{
		Dir:      dir,
		Listen:   fmt.Sprintf("0.0.0.0:%d", l.proxyPort),
		Failing:  n.failing,
		Change:   n.change,
		SNI:      n.sni,
		Prefixes: n.prefixes,
		Trusted:  l.place.trusted,
		Body:     body,
		Workers:  l.workers,
		// HAProxy refuses to start unless there are descriptors for two sockets per
		// connection and for all pipes. Without maxpipes, that is one for every four
		// connections.
		MaxConnections: (int(files) - spare - 2*pipes) / 2,
		MaxPipes:       pipes,
		FileLimit:      files,
		Root:           os.Geteuid() == 0,
		Pin:            l.workers <= runtime.NumCPU(),
		LastCPU:        l.workers - 1,
	}
	for i := range n.more {
		s.More = append(s.More, l.moreFronts[i].front(l.place.origins))
	}
	if n.failing {
		for i, port := range l.failingPorts {
			s.Backends = append(s.Backends, l.origin(l.runs*usualBackends+i, port))
		}
		return s, nil
	}
	// They are several addresses of one origin, so that the proxies do not run out of
	// source ports at high connection rates. Each measurement uses others, because
	// the ports of the last one are in TIME_WAIT.
	backends := n.backends
	if backends == 0 {
		backends = usualBackends
	}
	for i := range backends {
		s.Backends = append(s.Backends, l.backend(l.runs*usualBackends+i))
		if n.change != "" {
			s.Others = append(s.Others, l.origin(l.runs*usualBackends+i, l.failingPorts[0]))
		}
	}
	return s, nil
}

// backend returns an address of the origin.
func (l *lab) backend(i int) string { return l.origin(i, l.backendPort) }

// origin returns an address of the machine that origins are on.
func (l *lab) origin(i, port int) string {
	return net.JoinHostPort(l.place.origins.host(i), strconv.Itoa(port))
}

// template returns the name of a peer's template for s.
func (s setup) template(name string) string {
	if s.Failing {
		name = "failover-" + name
	}
	return "peers/" + name + ".tmpl"
}

// configure writes the template name, filled with s, to s.Dir and returns the path.
func configure(name string, s setup) (string, error) {
	t, err := template.New(filepath.Base(name)).Funcs(template.FuncMap{"host": host, "port": port}).ParseFS(files, name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Dir, "config"+filepath.Ext(name[:len(name)-len(".tmpl")]))
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := t.Execute(file, s); err != nil {
		file.Close()
		return "", err
	}
	return path, file.Close()
}

// host and port return the parts of an address in a template.
func host(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	return host, err
}

func port(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	return port, err
}
