package proxy_test

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/clientlimit"
	"l4proxy/eventloop"
	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

const denyText = "Access Denied: Your IP is not authorized"

// engines runs a test with each engine, and holds it to leaving no descriptor behind.
var engines = proxy.Engines

// enginesTogether is engines for a test that mostly waits: it runs with both at the same time.
var enginesTogether = proxy.EnginesTogether

// setup is what a test needs from a proxy: the state of one listener and one pool, and the options.
type setup struct {
	listener proxy.Listener
	policy   string
	weights  []int
	backends []string // host:port, or the path of a unix socket
	timeout  time.Duration
	attempts int
	more     []*proxy.Listener // besides the first; they have the same pool unless they set one
	options  proxy.Options
	// before is called with the address of the first bind when the sockets are listening, and the
	// loops are not running yet.
	before func(addr string)
	// beforeRun is the same for the server.
	beforeRun func(*proxy.Server)
	// balance and pooled change how the pool picks, and the pool.
	balance func(*balancer.Options)
	pooled  func(*proxy.Pool)
	// members changes the members of the pool.
	members func([]balancer.Member)
	observe func(balancer.Event)
}

// running is a proxy that is running.
type running struct {
	t       testing.TB
	server  *proxy.Server
	state   *proxy.State
	pool    *proxy.Pool
	records *recorder
	addr    string // of the first bind
	cancel  context.CancelFunc
	fails   bool // the test expects an error of Run
	removes bool // the test removes listeners, and their counts with them
	done    chan struct{}
	err     error // of Run, after done
}

// start runs a proxy in front of backends until the end of the test.
func start(t testing.TB, engine string, backends []string, change ...func(*setup)) *running {
	t.Helper()
	s, err := tryStart(t, engine, backends, change...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tryStart is start for a test that expects an error.
func tryStart(t testing.TB, engine string, backends []string, change ...func(*setup)) (*running, error) {
	t.Helper()
	s := &setup{
		listener: proxy.Listener{
			Name:        "front",
			Binds:       []listen.Bind{{Addr: netip.MustParseAddrPort("127.0.0.1:0")}},
			DenyMessage: []byte(denyText),
		},
		policy:   "least_conn",
		backends: backends,
		timeout:  testnet.Patience,
		attempts: 3,
		options:  proxy.Options{Engine: engine, Workers: 2, Log: slog.New(slog.NewTextHandler(io.Discard, nil))},
	}
	r := &running{t: t, records: new(recorder), done: make(chan struct{})}
	s.options.Finished = r.records.add
	for _, f := range change {
		f(s)
	}
	r.pool = s.pool(t)
	r.state = &proxy.State{Listeners: append([]*proxy.Listener{&s.listener}, s.more...)}
	for _, l := range r.state.Listeners {
		switch {
		case l.Pool != nil:
		case l.Routes == nil:
			l.Pool = r.pool
		case l.RoutePools == nil:
			l.RoutePools = slices.Repeat([]*proxy.Pool{r.pool}, 8) // more than there are routes
		}
		if l.Slots == nil {
			l.Slots = proxy.NewSlots(0)
		}
		if l.Clients == nil && engine == eventloop.Epoll { // counts clients in all tests of one engine
			l.Clients = clientlimit.New(clientlimit.Prefixes{IPv4: 32, IPv6: 64})
		}
	}
	var err error
	if r.server, err = proxy.Listen(r.state, s.options); err != nil {
		return nil, err
	}
	r.addr = addressOf(r.server.Addrs()[0].Bind)
	if s.before != nil {
		s.before(r.addr)
	}
	if s.beforeRun != nil {
		s.beforeRun(r.server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.err = r.server.Run(ctx)
	}()
	t.Cleanup(func() {
		r.noClientCounts()
		r.server.Stop()
		if err := r.wait(); err != nil && !r.fails {
			t.Errorf("Run: %v", err)
		}
		cancel()
		r.accountedFor()
	})
	return r, nil
}

// noClientCounts checks that no connection counts as one of its client, if all have ended.
func (r *running) noClientCounts() {
	if r.server.Connections() > 0 {
		return
	}
	for _, l := range r.state.Listeners {
		if l.Clients == nil {
			continue
		}
		if n := l.Clients.Clients(); n != 0 && r.server.Connections() == 0 {
			r.t.Errorf("%d clients of listener %s are counted, and no connection is open", n, l.Name)
		}
	}
}

// accountedFor checks that each accepted client was counted once and has left one record, unless
// that was dropped.
func (r *running) accountedFor() {
	if r.fails || r.removes {
		return
	}
	accepted, ended := uint64(0), uint64(0)
	counts := r.server.Counts()
	for _, l := range append(counts.Listeners, counts.Orphans) {
		accepted += l.Accepted + l.Adopted - l.Moved
		ended += l.AllEnded()
	}
	if records := uint64(len(r.records.all())); accepted != ended || ended != records+counts.Dropped {
		r.t.Errorf("%d clients accepted, %d counted as ended, %d records and %d dropped", accepted, ended, records, counts.Dropped)
	}
	r.countedAlike(&counts)
}

// countedAlike checks that what is counted while connections live is what their records say in the
// end.
func (r *running) countedAlike(counts *proxy.Counts) {
	moves, in, out := counts.Dropped > 0, uint64(0), uint64(0)
	for _, l := range append(counts.Listeners, counts.Orphans) {
		moves = moves || l.Moved+l.Adopted > 0
		in, out = in+l.BytesIn, out+l.BytesOut
		denied, byRule := uint64(0), l.Denied()
		for _, reason := range []proxy.Reason{proxy.ReasonDenied, proxy.ReasonBanned, proxy.ReasonClientConnections, proxy.ReasonClientRate} {
			denied += l.Ended(proxy.SideProxy, reason)
		}
		if n := l.Durations.Count(); n != l.AllEnded()-denied {
			r.t.Errorf("%d durations of %d clients that were not denied", n, l.AllEnded()-denied)
		}
		if byRule < denied { // more, if the server was stopped before a client got its message
			r.t.Errorf("%d clients were denied, by rule %v", denied, l.Rules)
		}
	}
	for _, record := range r.records.all() {
		in, out = in-record.BytesIn, out-record.BytesOut
	}
	if !moves && (in != 0 || out != 0) { // the record of a connection that moves is in another server
		r.t.Errorf("the records lack %d bytes in and %d bytes out", int64(in), int64(out))
	}
}

// pool makes the pool of a setup.
func (s *setup) pool(t testing.TB) *proxy.Pool {
	t.Helper()
	p := &proxy.Pool{Name: "back", ConnectTimeout: s.timeout, Attempts: s.attempts, Hedges: new(proxy.HedgeBudget)}
	var members []balancer.Member
	for i, address := range s.backends {
		addr, err := sockaddr(address)
		if err != nil {
			t.Fatal(err)
		}
		m := balancer.Member{Backend: &backend.Backend{Address: address, Sockaddr: addr}, Weight: 1}
		if s.weights != nil {
			m.Weight = s.weights[i]
		}
		members = append(members, m)
	}
	options := balancer.Options{Policy: s.policy, Seed: 1}
	if s.balance != nil {
		s.balance(&options)
	}
	if s.pooled != nil {
		s.pooled(p)
	}
	if s.members != nil {
		s.members(members)
	}
	var err error
	if p.Balancer, err = balancer.New(members, options); err != nil {
		t.Fatal(err)
	}
	p.Balancer.Observe(s.observe)
	return p
}

func sockaddr(address string) (*rawsys.Sockaddr, error) {
	if addr, err := netip.ParseAddrPort(address); err == nil {
		return rawsys.InetSockaddr(addr, 0), nil
	}
	return rawsys.UnixSockaddr(address)
}

// wait waits for the end of Run and returns its error.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(testnet.Patience):
		r.t.Fatal("Run does not return")
		return nil
	}
}

// dial connects a client to the first bind.
func (r *running) dial() testnet.Conn {
	r.t.Helper()
	return testnet.Dial(r.t, "tcp", r.addr)
}

// recorder keeps the records of finished connections.
type recorder struct {
	mu      sync.Mutex
	records []proxy.Record
}

func (k *recorder) add(r *proxy.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, *r)
}

func (k *recorder) all() []proxy.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]proxy.Record(nil), k.records...)
}

// ended waits for n records and returns them.
func (r *running) ended(n int) []proxy.Record {
	r.t.Helper()
	if !testnet.Within(testnet.Patience, func() bool { return len(r.records.all()) >= n }) {
		r.t.Fatalf("%d connections have ended, not %d", len(r.records.all()), n)
	}
	records := r.records.all()
	if len(records) > n {
		r.t.Fatalf("%d connections have ended, not %d", len(records), n)
	}
	return records
}

// endedOne waits for the only record and compares what is known of every record.
func (r *running) endedOne(side proxy.Side, reason proxy.Reason, in, out int64) proxy.Record {
	r.t.Helper()
	record := r.ended(1)[0]
	r.expect(record, side, reason, in, out)
	return record
}

func (r *running) expect(record proxy.Record, side proxy.Side, reason proxy.Reason, in, out int64) {
	r.t.Helper()
	if !record.Is(side, reason) {
		r.t.Errorf("outcome = %v %v, want %v %v", record.Side, record.Reason, side, reason)
	}
	if record.BytesIn != uint64(in) || record.BytesOut != uint64(out) {
		r.t.Errorf("bytes in, out = %d, %d, want %d, %d", record.BytesIn, record.BytesOut, in, out)
	}
}

// addresses are the addresses of backends.
func addresses(backends ...*testnet.Backend) []string {
	var all []string
	for _, b := range backends {
		all = append(all, b.Addr)
	}
	return all
}

// rules makes an ACL of one rule.
func rules(defaultAllow bool, rules ...acl.Rule) func(*setup) {
	return func(s *setup) { s.listener.ACL = acl.Build(rules, defaultAllow) }
}

// both waits for the errors of two goroutines.
func both(t testing.TB, first, second func() error) {
	t.Helper()
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() { errs[0] = first() })
	wg.Go(func() { errs[1] = second() })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// addressOf is where to dial a bind.
func addressOf(b listen.Bind) string { return strings.TrimPrefix(b.String(), "unix:") }
