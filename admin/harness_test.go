package admin_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"l4proxy/admin"
	"l4proxy/admin/client"
	"l4proxy/internal/testnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "a-long-random-token"

// fake is a proxy as the API sees it. It notes what it is asked to do.
type fake struct {
	mu       sync.Mutex
	alive    error
	notReady string
	calls    []any
	err      error // of every command
	// during, if set, is called by every command.
	during func(context.Context)
	pools  int // how many pools the status has
}

func (f *fake) Alive(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive
}

func (f *fake) NotReady() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notReady
}

func (f *fake) Status() *admin.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &admin.Status{Version: "1.2.3", PID: 42, Started: time.Unix(1e9, 0).UTC(),
		Problems: []admin.Problem{}, Listeners: []admin.ListenerStatus{}, Pools: []admin.PoolStatus{}}
	for range f.pools {
		s.Pools = append(s.Pools, admin.PoolStatus{Name: strings.Repeat("x", 64), Backends: []admin.BackendStatus{}})
	}
	return s
}

// note notes a call of a command, and returns its error.
func (f *fake) note(ctx context.Context, call any) error {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	during, err := f.during, f.err
	f.mu.Unlock()
	if during != nil {
		during(ctx)
	}
	return err
}

// taken returns the calls so far, and forgets them.
func (f *fake) taken() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// change changes the fake while a Server uses it.
func (f *fake) change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) commands() admin.Commands {
	return admin.Commands{
		Reload: func(ctx context.Context, r admin.ReloadRequest) (*admin.Reload, error) {
			return &admin.Reload{DryRun: r.DryRun, Generation: 7, Changes: []admin.Change{}, Warnings: []string{}}, f.note(ctx, r)
		},
		Keep:     func(ctx context.Context) error { return f.note(ctx, "keep") },
		Rollback: func(ctx context.Context) error { return f.note(ctx, "rollback") },
		Drain: func(ctx context.Context, r admin.DrainRequest) (*admin.Drain, error) {
			return &admin.Drain{Listener: r.Listener, State: admin.DrainRunning, Survives: []string{}}, f.note(ctx, r)
		},
		SetBackend: func(ctx context.Context, pool, address string, change admin.BackendChange) (*admin.Drain, error) {
			return &admin.Drain{State: change.State, Survives: []string{}}, f.note(ctx, [3]string{pool, address, change.State})
		},
		Upgrade: func(ctx context.Context, r admin.UpgradeRequest) (*admin.Upgrade, error) {
			return &admin.Upgrade{PID: 43}, f.note(ctx, r)
		},
	}
}

// served is a Server that is running.
type served struct {
	t       testing.TB
	fake    *fake
	server  *admin.Server
	network string
	address string // for net.Dial
	log     lines
	stop    func() // once
	context context.Context
}

// shutdown stops the server in the time of ctx.
func (s *served) shutdown(ctx context.Context) {
	s.context = ctx
	s.stop()
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// serve runs a Server on "tcp", which is 127.0.0.1, or on "unix", until the end of the test.
func serve(t testing.TB, network string, change ...func(*admin.Options)) *served {
	t.Helper()
	testnet.SameFiles(t)
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "admin.sock")
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, change...)
}

// serveOn is serve on a listening socket.
func serveOn(t testing.TB, l net.Listener, change ...func(*admin.Options)) *served {
	t.Helper()
	network := l.Addr().Network()
	s := &served{t: t, context: context.Background(), fake: new(fake), network: network, address: l.Addr().String()}
	o := admin.Options{
		Address:  admin.Address{Unix: network == "unix", Loopback: true},
		View:     s.fake,
		Commands: s.fake.commands(),
		Log:      slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		o.Address.Port = uint16(tcp.Port)
	}
	for _, f := range change {
		f(&o)
	}
	s.server = admin.New(l, o)
	done := make(chan error, 1)
	go func() { done <- s.server.Serve() }()
	s.stop = sync.OnceFunc(func() {
		s.server.Shutdown(s.context)
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func withToken(o *admin.Options) { o.Address.Token = token }

// faraway makes the address one that other machines can reach.
func faraway(o *admin.Options) { o.Address.Loopback = false }

// client is a client with a token, "" for none.
func (s *served) client(token string) *client.Client {
	s.t.Helper()
	address := s.address
	if s.network == "unix" {
		address = "unix:" + address
	}
	c, err := client.New(address, token)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// request is a request that a test makes by hand. Values of header that are empty leave it out.
type request struct {
	method, path, body string
	host               string
	header             map[string]string
}

// do sends a request on a connection of its own.
func (s *served) do(q request) (code int, header http.Header, body string) {
	s.t.Helper()
	var text io.Reader
	if q.body != "" {
		text = strings.NewReader(q.body)
	}
	r, err := http.NewRequest(q.method, "http://"+s.hostPort()+strings.TrimPrefix(q.path, "*"), text)
	if err != nil {
		s.t.Fatal(err)
	}
	if q.path == "*" { // of OPTIONS
		r.URL.Opaque = "*"
	}
	r.Close = true
	if q.host != "" {
		r.Host = q.host
	}
	for key, value := range q.header {
		r.Header.Set(key, value)
	}
	// Not http.Transport, which closes its connection a moment after the answer was read.
	conn, err := net.Dial(s.network, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testnet.Patience))
	if err := r.Write(conn); err != nil && !testnet.IsReset(err) { // it may have answered before
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.conforms(q, response, answer)
	return response.StatusCode, response.Header, string(answer)
}

// hostPort is the Host of an ordinary request.
func (s *served) hostPort() string {
	if s.network == "unix" {
		return "localhost"
	}
	return s.address
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}
