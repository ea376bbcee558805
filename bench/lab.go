package main

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"text/template"
	"time"
)

//go:embed peers/*.tmpl origins/*.tmpl load/*.lua
var files embed.FS

// body is what the HTTP origin answers with.
const body = "hello"

// lab is where one measurement after the other takes place: two ports, one for
// the proxy, one for the origin behind it, and a directory for what they write.
type lab struct {
	options
	dir         string
	proxyPort   int
	backendPort int
	runs        int // measurements so far
}

func newLab(dir string, o options) (*lab, error) {
	// A directory that is only root's is none for an nginx worker.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	proxyPort, err := freePort(20000)
	if err != nil {
		return nil, err
	}
	backendPort, err := freePort(proxyPort + 1)
	if err != nil {
		return nil, err
	}
	return &lab{options: o, dir: dir, proxyPort: proxyPort, backendPort: backendPort}, nil
}

// freePort returns the first port from first on that can be bound. It stays
// below the range from which connections get theirs (ip_local_port_range).
func freePort(first int) (int, error) {
	for port := first; port < 32768; port++ {
		listener, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to 32767", first)
}

// setup is what the templates of peers and origins are filled with.
type setup struct {
	Dir            string
	Listen         string
	Backends       []string
	Body           string
	Engine         string // of l4proxy
	StreamModule   string // of nginx, where it is not built in
	Workers        int
	MaxConnections int
	FileLimit      uint64
	Root           bool
	Pin            bool // one worker a CPU
	LastCPU        int
}

func (l *lab) setup(dir string) (setup, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return setup{}, os.NewSyscallError("getrlimit", err)
	}
	const some = 20000
	files := min(limit.Cur, some)
	s := setup{
		Dir:     dir,
		Listen:  fmt.Sprintf("0.0.0.0:%d", l.proxyPort),
		Body:    body,
		Workers: l.workers,
		// HAProxy reckons with two descriptors a connection and a pipe for
		// every fourth one, and refuses to start with fewer.
		MaxConnections: int(files)*2/5 - 200,
		FileLimit:      files,
		Root:           os.Geteuid() == 0,
		Pin:            l.workers <= runtime.NumCPU(),
		LastCPU:        l.workers - 1,
	}
	// Several addresses of the one origin, so that the proxies' source ports
	// do not run out at many connections a second.
	for host := 2; host <= 5; host++ {
		s.Backends = append(s.Backends, fmt.Sprintf("127.0.0.%d:%d", host, l.backendPort))
	}
	return s, nil
}

// configure writes the template name, filled with s, to s.Dir and returns the path.
func configure(name string, s setup) (string, error) {
	t, err := template.ParseFS(files, name)
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

// bench is one measurement of one peer: what a scenario's run is given.
type bench struct {
	dir      string
	target   string // host:port for the load
	pid      int    // of the proxy; 0 for direct
	duration time.Duration
}

// measure starts p and what it needs afresh, verifies that bytes pass through
// it unharmed, and only then lets the scenario time it. All of it has ended
// when measure returns.
func (l *lab) measure(ctx context.Context, p peer, s scenario) (figures, error) {
	// No measurement takes much longer than its load; one that hangs must not
	// hold up the others.
	ctx, cancel := context.WithTimeout(ctx, l.duration+time.Minute)
	defer cancel()

	l.runs++
	b := bench{dir: filepath.Join(l.dir, strconv.Itoa(l.runs)), duration: l.duration}
	proxyDir, originDir := filepath.Join(b.dir, "proxy"), filepath.Join(b.dir, "origin")
	for _, dir := range []string{b.dir, proxyDir, originDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	set, err := l.setup(proxyDir)
	if err != nil {
		return nil, err
	}

	b.target = set.Backends[0]
	if p.command != nil {
		// The load comes to another address each time, so that the ports that
		// the last one left in TIME_WAIT are none of this one's.
		b.target = fmt.Sprintf("127.0.1.%d:%d", 1+l.runs%250, l.proxyPort)
		proxy, err := l.startVerified(ctx, p, set, b.target)
		if err != nil {
			return nil, err
		}
		defer proxy.stop()
		b.pid = proxy.pid()
	}

	set.Dir = originDir
	set.Listen = fmt.Sprintf("0.0.0.0:%d", l.backendPort)
	origin, err := s.origin(set)
	if err != nil {
		return nil, err
	}
	defer origin.stop()
	if err := origin.awaitListening(ctx, l.backendPort); err != nil {
		return nil, err
	}
	return s.run(ctx, b)
}

// startVerified starts p before an echo server, which is gone again when it
// returns, and passes bytes through both.
func (l *lab) startVerified(ctx context.Context, p peer, set setup, target string) (*process, error) {
	echo, err := startEcho(fmt.Sprintf("0.0.0.0:%d", l.backendPort))
	if err != nil {
		return nil, err
	}
	defer echo.stop()
	argv, err := p.command(set)
	if err != nil {
		return nil, err
	}
	proxy, err := start(p.name, set.Dir, argv...)
	if err != nil {
		return nil, err
	}
	if err := proxy.awaitListening(ctx, l.proxyPort); err != nil {
		proxy.stop()
		return nil, err
	}
	if err := verify(ctx, target); err != nil {
		proxy.stop()
		return nil, fmt.Errorf("%s does not pass bytes on unharmed: %w", p.name, err)
	}
	return proxy, nil
}
