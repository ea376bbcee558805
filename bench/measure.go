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

// size is how much a peer has to know.
type size struct {
	backends int // 0: the usual few
	prefixes int // of its access control list; 0: it has none
	more     int // listeners beside the first one, each with a pool of its own; at most moreFronts
	// failing is set where the backends are failingBackends processes of their
	// own, one of which is going to fail.
	failing bool
}

// bench is one measurement of one peer: what a scenario is given.
type bench struct {
	dir      string
	place    *place
	target   string  // host:port for the load
	more     []ports // the fronts beside the first
	setup    setup   // of the origin: its directory, what it listens on
	rate     float64 // of an open loop, in operations a second; 0: none
	duration time.Duration
	// pid is the proxy's, originPID the origin's; 0 where there is none.
	pid, originPID int
	ready          time.Duration // from the start of the proxy until it listened
	failing        []*member     // the backends, where one of them is going to fail
	progress       float64       // through the rounds of this scenario, from 0 to 1
}

// measure starts p and what it needs afresh, verifies that bytes pass through
// it unharmed, and only then lets the scenario time it. All of it has ended
// when measure returns.
func (l *lab) measure(ctx context.Context, p peer, s scenario, rate float64) (m measured, err error) {
	if why := p.lacks(l.place, s.size); why != "" {
		return measured{}, errors.New(why)
	}
	b := bench{place: l.place, rate: rate, duration: max(l.duration, s.atLeast), progress: l.progress}
	// No measurement takes much longer than its load; one that hangs must not
	// hold up the others.
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
	b.target, b.more = l.target(p), l.moreFronts[:s.size.more]
	b.setup = set
	b.setup.Dir, b.setup.Listen = originDir, l.originListens()

	var proxy instance
	if s.size.failing {
		// Health checks want these backends from the start. The load itself
		// verifies what passes.
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

// target returns where the load on p goes: to another address each time, so
// that the ports that the last one left in TIME_WAIT are none of this one's.
func (l *lab) target(p peer) string {
	if p.command == nil && !p.translated {
		return l.backend(l.runs)
	}
	return net.JoinHostPort(l.place.proxies.host(l.runs), strconv.Itoa(l.proxyPort))
}

func (l *lab) originListens() string { return everywhere(l.backendPort) }

// everywhere is all addresses of a machine.
func everywhere(port int) string { return fmt.Sprintf("0.0.0.0:%d", port) }

// targetOf returns where the load of another front goes.
func (b bench) targetOf(f ports) string {
	host, _, err := net.SplitHostPort(b.target)
	if err != nil {
		panic(err) // it was joined
	}
	return net.JoinHostPort(host, strconv.Itoa(f.proxy))
}
