// Command plainproxy is the peer tcpproxy of the benchmarks: what a Go program
// without an event loop of its own does, two goroutines per connection and
// io.Copy, which splices. It is a program of its own so that nothing else of the
// benchmarks counts in its memory.
//
// Its arguments are the address it listens on and the addresses of the backends,
// and after a "+" the same for another listener.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/inetaf/tcpproxy"
)

// nextRoute stands between the arguments of two listeners.
const nextRoute = "+"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plainproxy:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string) error {
	var proxy tcpproxy.Proxy
	for more := true; more; {
		route := args
		if i := slices.Index(args, nextRoute); i >= 0 {
			route, args = args[:i], args[i+1:]
		} else {
			more = false
		}
		if len(route) < 2 {
			return errors.New("usage: plainproxy LISTEN BACKEND... [+ LISTEN BACKEND...]")
		}
		proxy.AddRoute(route[0], newTurns(route[1:]))
	}
	if err := proxy.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = proxy.Close() }) // never fails
	defer stop()
	// Connections end with the process.
	if err := proxy.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// turns sends connections to the backends in turn.
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
