package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/inetaf/tcpproxy"
)

// runPlainProxy is the peer tcpproxy: what a Go program without an event loop
// of its own does, two goroutines a connection and io.Copy, which splices. Its
// arguments are the address it listens on and those of the backends, and after
// [nextRoute] the same for another one. It serves until ctx ends.
func runPlainProxy(ctx context.Context, args []string) error {
	var proxy tcpproxy.Proxy
	for more := true; more; {
		route := args
		if i := slices.Index(args, nextRoute); i >= 0 {
			route, args = args[:i], args[i+1:]
		} else {
			more = false
		}
		if len(route) < 2 {
			return errors.New("usage: plain-proxy LISTEN BACKEND... [+ LISTEN BACKEND...]")
		}
		proxy.AddRoute(route[0], newTurns(route[1:]))
	}
	if err := proxy.Start(); err != nil {
		return fmt.Errorf("plain-proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = proxy.Close() }) // never fails
	defer stop()
	// Connections end with the process, which is what called this.
	if err := proxy.Wait(); ctx.Err() == nil {
		return fmt.Errorf("plain-proxy: %w", err)
	}
	return nil
}

// nextRoute stands between the arguments of two routes.
const nextRoute = "+"

// turns gives each connection the backend after the last one's.
type turns struct {
	backends []*tcpproxy.DialProxy
	next     atomic.Uint64
}

func newTurns(backends []string) *turns {
	t := &turns{}
	for _, address := range backends {
		t.backends = append(t.backends, tcpproxy.To(address))
	}
	return t
}

// HandleConn implements [tcpproxy.Target]. It closes conn.
func (t *turns) HandleConn(conn net.Conn) {
	n := t.next.Add(1) - 1
	t.backends[n%uint64(len(t.backends))].HandleConn(conn)
}
