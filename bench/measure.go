package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// size is what a scenario demands of a peer's configuration.
type size struct {
	backends int    // 0: usualBackends
	prefixes int    // of the access control list; 0: no list
	sni      string // the name by which clients are routed; "": they are not
	more     int    // further listeners, each with a pool of its own; at most moreFronts
	// failing is set if the backends are processes of their own, failingBackends of
	// them, one of which is going to fail.
	failing bool
	// change is set to the kind of change that the peer makes under load.
	change string
}

// bench is one measurement of one peer, for a scenario to run.
type bench struct {
	dir      string
	place    *place
	target   string  // host:port for the load
	more     []ports // the fronts beside the first
	setup    setup   // of the origin: its directory, what it listens on
	opening  []byte  // the first bytes of each request, if it is more than the pattern
	rate     float64 // of an open loop, in operations per second; 0: closed loop
	duration time.Duration
	// pid is the proxy's, originPID the origin's; 0 if there is none.
	pid, originPID int
	ready          time.Duration // from the start of the proxy until it listened
	failing        []*member     // the backends, if one of them is going to fail
	changing       *changing     // the peer, if it is changed under load
	otherPort      int           // of the origin behind every second configuration of a changing peer
	progress       float64       // of the rounds of this scenario, from 0 to 1
}

// measure starts p and what it needs, verifies that bytes pass through it
// unchanged, and then runs the scenario. All processes have ended when it returns.
func (l *lab) measure(ctx context.Context, p peer, s scenario, rate float64) (m measured, err error) {
	if why := p.lacks(l.place, s.size); why != "" {
		return measured{}, errors.New(why)
	}
	b := bench{place: l.place, rate: rate, duration: max(l.duration, s.atLeast), progress: l.progress}
	// No measurement takes much longer than its load. One that hangs must not
	// block the others.
	ctx, cancel := context.WithTimeout(ctx, b.duration+time.Minute)
	defer cancel()

	l.runs++
	b.dir = filepath.Join(l.dir, strconv.Itoa(l.runs))
	proxyDir, originDir := filepath.Join(b.dir, "proxy"), filepath.Join(b.dir, "origin")
	for _, dir := range []string{b.dir, proxyDir, originDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return measured{}, err
		}
	}
	set, err := l.setup(proxyDir, s.size)
	if err != nil {
		return measured{}, err
	}
	if p.observed {
		set.Admin = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.adminPort))
	}
	set.SendProxy = p.sendProxy
	if s.size.sni != "" {
		if b.opening, err = clientHello(s.size.sni); err != nil {
			return measured{}, err
		}
	}
	b.target, b.more = l.target(p), l.moreFronts[:s.size.more]
	b.setup = set
	b.setup.Dir, b.setup.Listen = originDir, l.originListens()

	if s.size.change != "" {
		if err := adoptOrphans(); err != nil {
			return measured{}, err
		}
		p.command = p.changes[s.size.change].command
		b.otherPort = l.failingPorts[0]
	}
	var proxy instance
	if s.size.failing {
		// Health checks need these backends from the start. The load itself
		// verifies the bytes.
		if b.failing, err = b.startMembers(ctx, set.Backends); err != nil {
			return measured{}, err
		}
		defer stopMembers(b.failing)
		proxy, err = l.serve(ctx, p, set)
	} else {
		proxy, err = l.startVerified(ctx, p, set, b)
	}
	if err != nil {
		return measured{}, err
	}
	defer func() { err = errors.Join(err, proxy.end()) }()
	b.pid, b.ready = proxy.pid, proxy.ready
	if s.size.change != "" {
		b.changing = &changing{
			change: p.changes[s.size.change], group: &group{id: proxy.pid, cpu: make(map[int]float64)},
			setup: set, name: p.name,
		}
	}

	if s.origin != nil {
		origin, err := s.origin(b)
		if err != nil {
			return measured{}, err
		}
		defer origin.stop()
		if err := origin.awaitListening(ctx, l.backendPort); err != nil {
			return measured{}, err
		}
		b.originPID = origin.pid()
	}
	return s.run(ctx, b)
}

// target returns the address for the load on p. It is another one each time, so
// that ports in TIME_WAIT of the measurement before do not matter.
func (l *lab) target(p peer) string {
	if p.command == nil && !p.translated {
		return l.backend(l.runs)
	}
	return net.JoinHostPort(l.place.proxies.host(l.runs), strconv.Itoa(l.proxyPort))
}

func (l *lab) originListens() string { return everywhere(l.backendPort) }

// everywhere returns the address that stands for all of a machine.
func everywhere(port int) string { return fmt.Sprintf("0.0.0.0:%d", port) }

// targetOf returns the address for the load on another front.
func (b bench) targetOf(f ports) string {
	host, _, err := net.SplitHostPort(b.target)
	if err != nil {
		panic(err) // JoinHostPort made it
	}
	return net.JoinHostPort(host, strconv.Itoa(f.proxy))
}
