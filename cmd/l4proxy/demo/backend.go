package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstPort is the port of the first backend. The backends use the ports of the simple
	// configuration in the documentation. If one is taken, the kernel chooses another.
	firstPort = 8081
	// listenRetry is the time between attempts to listen again, in case the port was taken
	// meanwhile.
	listenRetry = 100 * time.Millisecond
)

// Backend is an HTTP server on a loopback port. It answers every request with a line that says who
// it is, and closes the connection, so that browsers see balancing too.
type Backend struct {
	name   string
	addr   string
	served atomic.Uint64
	// repair repairs all backends of the demo.
	repair func()

	mu       sync.Mutex
	fault    Fault
	changed  chan struct{} // closed when fault is set again
	expiry   *time.Timer   // ends the fault; nil if it has no end
	listener net.Listener  // nil while the backend is stopped
	server   *http.Server  // on listener
}

// Listen opens count backends. When it returns an error, none is open.
func Listen(count int) ([]*Backend, error) {
	var backends []*Backend
	repair := func() {
		for _, b := range backends {
			b.SetFault(None, 0)
		}
	}
	for i := range count {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+i)))
		if err != nil {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		if err != nil {
			for _, b := range backends {
				b.close()
			}
			return nil, fmt.Errorf("built-in backend: %w", err)
		}
		backends = append(backends, newBackend(fmt.Sprintf("backend-%d", i+1), l, repair))
	}
	return backends, nil
}

func newBackend(name string, l net.Listener, repair func()) *Backend {
	b := &Backend{name: name, addr: l.Addr().String(), repair: repair, fault: None, changed: make(chan struct{})}
	b.use(l)
	return b
}

// Name is what the backend calls itself: backend-1 and so on.
func (b *Backend) Name() string { return b.name }

// Addr is the address it listens on.
func (b *Backend) Addr() string { return b.addr }

// Run serves until ctx is done.
func (b *Backend) Run(ctx context.Context) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		b.close()
	})
	for {
		l, server := b.open(ctx)
		if l == nil {
			break
		}
		_ = server.Serve(l) // until it is shut
	}
	if !stop() {
		<-closed
	}
}

// open waits until the backend is to serve, and listens on its port again if need be. It returns
// nil when ctx is done.
func (b *Backend) open(ctx context.Context) (net.Listener, *http.Server) {
	for {
		l, server, changed := b.current(ctx)
		if l != nil {
			return l, server
		}
		retry := time.NewTimer(listenRetry)
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, nil
		}
		retry.Stop()
	}
}

// current returns the listener and its server, and opens it if the backend is not stopped.
func (b *Backend) current(ctx context.Context) (net.Listener, *http.Server, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener == nil && b.fault != Stop && ctx.Err() == nil {
		if l, err := net.Listen("tcp4", b.addr); err == nil {
			b.use(l)
		}
	}
	return b.listener, b.server, b.changed
}

func (b *Backend) use(l net.Listener) {
	b.listener = l
	b.server = &http.Server{Handler: b.handler(), ReadHeaderTimeout: 10 * time.Second}
	b.server.SetKeepAlivesEnabled(false)
}

// shut closes the listener. It is called with mu held. The caller then calls cut, which closes all
// connections.
func (b *Backend) shut() (cut func()) {
	if b.listener == nil {
		return func() {}
	}
	_ = b.listener.Close()
	server := b.server
	b.listener, b.server = nil, nil
	return func() { _ = server.Close() }
}

func (b *Backend) close() { b.SetFault(Stop, 0) }

// sleep returns early if ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
