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
	// Pause is how long a backend refuses connections after /stop, unless ?for= says otherwise.
	Pause    = 15 * time.Second
	maxPause = time.Minute
	// listenRetry is the time between attempts to listen again, in case the port was taken
	// meanwhile.
	listenRetry = 100 * time.Millisecond
)

// Backend is an HTTP server on a loopback port. It answers every request with a line that says who
// it is, and closes the connection, so that browsers see balancing too.
type Backend struct {
	name   string
	addr   string
	server *http.Server
	served atomic.Uint64

	mu       sync.Mutex
	listener net.Listener  // nil during a pause
	pause    time.Duration // the one that has begun
}

// Listen opens count backends. When it returns an error, none is open.
func Listen(count int) ([]*Backend, error) {
	var backends []*Backend
	for i := range count {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+i)))
		if err != nil {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		if err != nil {
			for _, b := range backends {
				b.close(0)
			}
			return nil, fmt.Errorf("built-in backend: %w", err)
		}
		backends = append(backends, newBackend(fmt.Sprintf("backend-%d", i+1), l))
	}
	return backends, nil
}

func newBackend(name string, l net.Listener) *Backend {
	b := &Backend{name: name, addr: l.Addr().String(), listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("/", b.hello)
	mux.HandleFunc("/stop", b.stop)
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	b.server.SetKeepAlivesEnabled(false)
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
		_ = b.server.Close()
	})
	l := b.listener
	for l != nil {
		// It returns when the listener is closed, by stop or by ctx; connections that were accepted
		// live on.
		_ = b.server.Serve(l)
		b.mu.Lock()
		pause := b.pause
		b.mu.Unlock()
		sleep(ctx, pause)
		l = b.listenAgain(ctx)
	}
	if !stop() {
		<-closed
	}
}

// listenAgain opens the same port once more; it returns nil when ctx is done.
func (b *Backend) listenAgain(ctx context.Context) net.Listener {
	for ctx.Err() == nil {
		l, err := net.Listen("tcp4", b.addr)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.listener = l
			return l
		}
		sleep(ctx, listenRetry)
	}
	return nil
}

// close makes the backend refuse connections for d. It returns false if the backend already does.
func (b *Backend) close(d time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener == nil {
		return false
	}
	_ = b.listener.Close()
	b.listener, b.pause = nil, d
	return true
}

func (b *Backend) hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s says hello; you came through %s; connections served: %d\n", b.name, r.RemoteAddr, b.served.Add(1))
}

// stop makes the backend refuse connections for a while.
func (b *Backend) stop(w http.ResponseWriter, r *http.Request) {
	pause := Pause
	if text := r.URL.Query().Get("for"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > maxPause {
			http.Error(w, fmt.Sprintf("for=%s: write a time up to %v, such as 5s", text, maxPause), http.StatusBadRequest)
			return
		}
		pause = d
	}
	b.served.Add(1)
	if !b.close(pause) {
		fmt.Fprintf(w, "%s already refuses connections\n", b.name)
		return
	}
	fmt.Fprintf(w, "%s refuses connections for %v from now on: the others take its clients\n", b.name, pause)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
