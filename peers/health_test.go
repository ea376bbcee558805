package peers

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/health"
	"l4proxy/internal/testenv"
)

// healthCheck is a way to check a server, and the error that it reports when the server hangs.
type healthCheck struct {
	name    string
	checker health.Checker
	port    int
	hangs   string // "": the check does not notice
}

// TestPeerHealthChecks checks real servers while they work, hang and exit, without a proxy.
func TestPeerHealthChecks(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	t.Run("Redis", func(t *testing.T) {
		server := startRedis(t)
		id := regexp.MustCompile(`process_id:(\d+)`).FindStringSubmatch(server.ask(t, "INFO server\r\nQUIT\r\n"))
		if id == nil {
			t.Fatal("Redis does not tell its process id")
		}
		pid, _ := strconv.Atoi(id[1])
		ping := health.NewExpect([]health.Step{{Send: []byte("PING\r\n")}, {Receive: []byte("+PONG\r\n")}})
		watchLife(t, pid, syscall.SIGTERM, []healthCheck{
			{"expect", ping, server.port, `no answer in time: received nothing, expected "+PONG\r\n"`},
			{"tcp", health.NewTCP(), server.port, ""},
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		tools := postgresTools{initdb: testenv.NeedTool(t, "initdb"), postgres: testenv.NeedTool(t, "postgres")}
		owner := postgresUser(t)
		template := filepath.Join(postgresDir(t, owner), "data")
		command{
			argv: []string{tools.initdb, "-D", template, "-U", "postgres", "-A", "trust", "--locale=C", "--no-sync"},
			dir:  filepath.Dir(template), user: owner,
		}.run(t)
		server := startPostgres(t, tools, template, owner)
		port, _ := strconv.Atoi(server.port)
		// SSLRequest: the answer is N, because this server has no certificate ("Message Formats" in
		// PostgreSQL's manual).
		request := []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
		ssl := health.NewExpect([]health.Step{{Send: request}, {Receive: []byte("N")}})
		watchLife(t, server.pid(), syscall.SIGINT, []healthCheck{
			{"expect", ssl, port, `no answer in time: received nothing, expected "N"`},
			{"tcp", health.NewTCP(), port, ""},
		})
	})
	t.Run("nginx", func(t *testing.T) {
		server := startNginx(t, nil, []byte("I am ready\n"))
		text, err := os.ReadFile(filepath.Join(server.dir, "nginx.pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		certs, err := os.ReadFile(server.certs)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(certs)
		verified := health.TLSOptions{Verify: true, Roots: roots}
		page := health.HTTPOptions{Path: "/small", Status: []health.StatusRange{{From: 200, To: 200}}, Body: "ready"}
		overTLS := page
		overTLS.TLS = &verified
		watchLife(t, pid, syscall.SIGTERM, []healthCheck{
			{"http", health.NewHTTP(page), server.http, "HTTP answer: no answer in time"},
			{"https", health.NewHTTP(overTLS), server.https, "TLS handshake: no answer in time"},
			{"tls", health.NewTLS(verified), server.https, "TLS handshake: no answer in time"},
			{"tcp", health.NewTCP(), server.http, ""},
		})
		wrong := page
		wrong.Path = "/none"
		addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: startNginx(t, nil, nil).http}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := health.NewHTTP(wrong).Check(ctx, addr, ""); err == nil || err.Error() != "status 404, expected 200" {
			t.Errorf("a page that is not there: %v", err)
		}
	})
}

// watchLife checks the server of a process group in several ways while it works, is stopped,
// continues and exits.
func watchLife(t *testing.T, pid int, end syscall.Signal, checks []healthCheck) {
	t.Helper()
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(-pid, s); err != nil {
			t.Fatalf("%v: %v", s, err)
		}
	}
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGCONT) }) // a stopped process does not handle SIGTERM

	const none = "<nil>"
	changes := make(chan health.Change, 100)
	m := health.New()
	groups := map[string]*health.Checks{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	backends := map[string]*backend.Backend{}
	// The events to expect: of all checks, and of those that notice a hanging server.
	well, hanging, wellAgain, gone := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	for _, c := range checks {
		well[c.name], gone[c.name] = none, "connect: connection refused"
		if c.hangs != "" {
			hanging[c.name], wellAgain[c.name] = c.hangs, none
		}
		backends[c.name] = &backend.Backend{Address: c.name}
		checks := m.Add(health.Group{
			Options: health.Options{
				Interval: 500 * time.Millisecond, FastInterval: 100 * time.Millisecond, Timeout: 500 * time.Millisecond, Jitter: 0.1,
			},
			Checker: c.checker,
			Targets: []health.Target{{Backend: backends[c.name], Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.port}}},
		})
		groups[c.name] = checks
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-checks.Changes.Ready:
				}
				for _, change := range checks.Changes.Take() {
					changes <- change
				}
			}
		})
	}
	running.Go(func() { m.Run(ctx) })
	expect := func(when string, to backend.Health, errs map[string]string) {
		t.Helper()
		timeout := time.After(patience)
		for waiting := maps.Clone(errs); len(waiting) > 0; {
			select {
			case c := <-changes:
				name := c.Backend.Address
				if want, waited := waiting[name]; !waited || c.To != to || fmt.Sprint(c.Err) != want {
					t.Fatalf("%s: %s is %v: %v; waiting for %v of %v", when, name, c.To, c.Err, to, waiting)
				}
				delete(waiting, name)
			case <-timeout:
				t.Fatalf("%s: nothing is told of %v", when, waiting)
			}
		}
	}

	expect("at work", backend.HealthUp, well)
	signal(syscall.SIGSTOP)
	stopped := time.Now()
	expect("stopped", backend.HealthDown, hanging)
	for name, b := range backends {
		last, _ := groups[name].Last(b)
		if hanging[name] == "" && (last.Health != backend.HealthUp || last.Err != nil || last.At.Before(stopped)) {
			t.Errorf("%s of a stopped server: %+v, want up", name, last)
		}
	}
	signal(syscall.SIGCONT)
	expect("going on", backend.HealthUp, wellAgain)
	signal(end)
	expect("ended", backend.HealthDown, gone)
}
