package control

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

// plane is a data plane that notes what is asked of it.
type plane struct {
	mu        sync.Mutex
	evictions []proxy.Evict
	listening []bool
	idle      map[*backend.Backend][]proxy.IdleConn
	ended     []proxy.IdleConn
}

func (p *plane) Evict(e proxy.Evict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.evictions = append(p.evictions, e)
}

func (p *plane) SetListening(_ *proxy.Listener, on bool) { p.listening = append(p.listening, on) }

func (p *plane) Idle(b *backend.Backend, _ time.Duration, _ int) []proxy.IdleConn { return p.idle[b] }

func (p *plane) EndIdle(i proxy.IdleConn, _ proxy.Reason) { p.ended = append(p.ended, i) }

// watching builds a configuration whose data plane is a plane, and whose log is a buffer. Nothing runs by itself.
func watching(t *testing.T, text string) (*Monitor, *watched, *plane, *bytes.Buffer) {
	t.Helper()
	_, m, err := Build(t.Context(), parse(t, text), nobody)
	if err != nil {
		t.Fatal(err)
	}
	p, log := new(plane), new(bytes.Buffer)
	m.server, m.log = p, slog.New(slog.NewTextHandler(log, nil))
	return m, m.order[0], p, log
}

const watchedPool = `
listeners: {front: {bind: "127.0.0.1:1", pool: back, when_no_backend: unlisten}}
pools:
  back:
    backends:
      - 192.0.2.1:1
      - {address: "192.0.2.2:1", priority: 1}
      - {address: "192.0.2.3:1", backup: true}
    health: {}
    on_down: reset
    on_recovered: drain
    spread: 7s
`

func down(b *backend.Backend) health.Change {
	return health.Change{Backend: b, From: backend.HealthUp, To: backend.HealthDown, Err: errors.New("it hangs"), Checks: 3}
}

func up(b *backend.Backend) health.Change {
	return health.Change{Backend: b, From: backend.HealthDown, To: backend.HealthUp, Checks: 2}
}

// TestDownAndUp has a backend go down and come back: its connections end at once, and those of the others that stood in
// for it later, but not those of one that comes before it.
func TestDownAndUp(t *testing.T) {
	m, w, p, log := watching(t, watchedPool)
	var backends []*backend.Backend
	for _, member := range w.pool.Members {
		member.Acquire() // a connection
		backends = append(backends, member.Backend)
	}
	m.healthChanged(down(backends[1]))
	if len(p.evictions) != 1 {
		t.Fatalf("%d evictions, want 1", len(p.evictions))
	}
	e := p.evictions[0]
	if e.Backend != backends[1] || e.Reason != proxy.ReasonBackendDown || !e.Reset || e.After != 0 || e.Over != 7*time.Second {
		t.Errorf("eviction = %+v", e)
	}
	if backends[1].Health() != backend.HealthDown {
		t.Error("the balancer was not told")
	}
	m.healthChanged(up(backends[1]))
	if len(p.evictions) != 2 {
		t.Fatalf("%d evictions, want 2", len(p.evictions))
	}
	e = p.evictions[1]
	if e.Backend != backends[2] || e.Reason != proxy.ReasonBackendRecovered || e.Reset || e.After != 30*time.Second {
		t.Errorf("eviction = %+v", e)
	}
	if e.Unless() {
		t.Error("called off although the backend is up")
	}
	m.healthChanged(down(backends[1]))
	if !e.Unless() {
		t.Error("goes on although the backend is down again")
	}
	for _, want := range []string{
		`level=WARN msg="backend is down" pool=back backend=192.0.2.2:1 was=up checks=3 error="it hangs"`,
		`level=INFO msg="backend is up" pool=back backend=192.0.2.2:1 was=down checks=2`,
		`msg="ending connections of backend" pool=back backend=192.0.2.2:1 connections=1 reason=backend_down how=reset after=0 over=7`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

// TestFirstResultIsNoRecovery holds that nobody's connections end because a backend was checked for the first time.
func TestFirstResultIsNoRecovery(t *testing.T) {
	m, w, p, _ := watching(t, watchedPool)
	for _, b := range w.pool.Members {
		b.Acquire()
		m.healthChanged(health.Change{Backend: b.Backend, To: backend.HealthUp, Checks: 1})
	}
	if len(p.evictions) != 0 {
		t.Errorf("%d evictions", len(p.evictions))
	}
}

// TestListenerFollowsPool has all backends of a pool go down and one come back.
func TestListenerFollowsPool(t *testing.T) {
	m, w, p, log := watching(t, watchedPool)
	for _, b := range w.pool.Members {
		m.healthChanged(down(b.Backend))
	}
	if len(p.listening) != 1 || p.listening[0] {
		t.Fatalf("listening = %v", p.listening)
	}
	m.healthChanged(up(w.pool.Members[2].Backend))
	m.healthChanged(up(w.pool.Members[0].Backend))
	if len(p.listening) != 2 || !p.listening[1] {
		t.Fatalf("listening = %v", p.listening)
	}
	if n := strings.Count(log.String(), `msg="no backend of the pool can serve" pool=back`); n != 1 {
		t.Errorf("told %d times that nobody can serve:\n%s", n, log)
	}
}

func TestRemoved(t *testing.T) {
	m, w, p, _ := watching(t, watchedPool)
	b := w.pool.Members[0].Backend
	b.Acquire()
	m.Removed(b)
	if len(p.evictions) != 1 || p.evictions[0].Reason != proxy.ReasonBackendRemoved || p.evictions[0].After != 30*time.Second {
		t.Errorf("evictions = %+v", p.evictions)
	}
}

// TestEventsAreLogged has a balancer tell of everything, and more than can be kept.
func TestEventsAreLogged(t *testing.T) {
	m, w, _, log := watching(t, watchedPool)
	b := w.pool.Members[0].Backend
	for _, e := range []balancer.Event{
		{Kind: balancer.BackedOff, Backend: b, Until: int64(time.Second), Count: 1},
		{Kind: balancer.Recovered, Backend: b, Count: 4},
		{Kind: balancer.Ejected, Backend: b, Until: int64(30 * time.Second), Count: 5},
		{Kind: balancer.Returned, Backend: b},
	} {
		m.logEvent(event{e, w})
	}
	for _, want := range []string{
		`level=WARN msg="backend does not answer: left aside" pool=back backend=192.0.2.1:1 for=1`,
		`level=INFO msg="backend answers again" pool=back backend=192.0.2.1:1 failures=4`,
		`level=WARN msg="backend ejected: its connections fail" pool=back backend=192.0.2.1:1 failures=5 for=30`,
		`level=INFO msg="ejection of backend is over" pool=back backend=192.0.2.1:1`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	for range eventsKept + 7 {
		m.notify(event{balancer.Event{Kind: balancer.Recovered, Backend: b}, w})
	}
	m.logEvent(<-m.events)
	if want := "events of backends were not logged because there were too many\" count=7"; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, log)
	}
}

// runs runs a monitor until stop is called.
func runs(t *testing.T, m *Monitor, p *plane) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.run(ctx, p, m.log)
	}()
	return func() {
		cancel()
		<-done
	}
}

// TestTicksEnd holds that balancers are told the time only while one waits for it.
func TestTicksEnd(t *testing.T) {
	m, w, p, log := watching(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], outlier: {failures: 1, eject: 1s, max_ejected: 50%}}}
`)
	stop := runs(t, m, p)
	silentSecondAgo(w.pool)
	for w.pool.Members[0].Ejected() {
		select {
		case <-t.Context().Done():
			t.Fatal("the ejection does not end")
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	if !strings.Contains(log.String(), "ejected") {
		t.Errorf("the log says nothing:\n%s", log)
	}
	if m.tick() {
		t.Error("ticks are still wanted")
	}
}

// TestRebalance has connections spread unfairly: the longest idle ones of the fullest backend are ended, as many as the
// rate allows and as are too many.
func TestRebalance(t *testing.T) {
	_, w, p, _ := watching(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], rebalance: {rate: 10/s, jitter: 0%}}}
`)
	crowded, spare := w.pool.Members[0].Backend, w.pool.Members[1].Backend
	for range 10 {
		crowded.Acquire()
	}
	spare.Acquire()
	spare.Acquire()
	p.idle = map[*backend.Backend][]proxy.IdleConn{crowded: {{Since: 5}, {Since: 3}, {Since: 9}, {Since: 4}}}
	r := rebalancer{rate: *w.config.Rebalance, pool: w.pool, server: p, log: slog.New(slog.DiscardHandler)}
	r.step()
	if len(p.ended) != 0 {
		t.Errorf("%d connections were ended before any was due", len(p.ended))
	}
	r.due = 2.5
	r.step()
	if len(p.ended) != 2 || p.ended[0].Since != 3 || p.ended[1].Since != 4 || r.due != 0.5 {
		t.Errorf("ended %+v, %v still due", p.ended, r.due)
	}
	r.due, p.ended = 100, nil
	p.idle[crowded] = make([]proxy.IdleConn, 10)
	r.step()
	if len(p.ended) != 4 { // 6 each is fair
		t.Errorf("%d were ended, want 4", len(p.ended))
	}
}

func TestFullest(t *testing.T) {
	b := []*backend.Backend{{Address: "a"}, {Address: "b"}, {Address: "c"}}
	for _, test := range []struct {
		name    string
		shares  []balancer.Share
		backend *backend.Backend
		excess  int
	}{
		{"nobody", nil, nil, 0},
		{"fair", []balancer.Share{has(b[0], 5, 0.5), has(b[1], 5, 0.5)}, nil, 0},
		{"one more is fair", []balancer.Share{has(b[0], 6, 0.5), has(b[1], 4, 0.5)}, nil, 0},
		{"within a tenth", []balancer.Share{has(b[0], 109, 0.5), has(b[1], 91, 0.5)}, nil, 0},
		{"beyond a tenth", []balancer.Share{has(b[0], 120, 0.5), has(b[1], 80, 0.5)}, b[0], 20},
		{"weights", []balancer.Share{has(b[0], 80, 0.75), has(b[1], 40, 0.25)}, b[1], 10},
		{"a new one", []balancer.Share{has(b[0], 30, 1./3), has(b[1], 33, 1./3), has(b[2], 0, 1./3)}, b[1], 12},
	} {
		if got, excess := fullest(test.shares); got != test.backend || excess != test.excess {
			t.Errorf("%s: %v has %d too many, want %v and %d", test.name, got, excess, test.backend, test.excess)
		}
	}
}

// has makes a share.
func has(b *backend.Backend, active int64, weight float64) balancer.Share {
	return balancer.Share{Backend: b, Active: active, Weight: weight}
}

// TestPoolOptions holds that what a pool is configured with reaches the balancer, the pool and its backends.
func TestPoolOptions(t *testing.T) {
	state, m, err := Build(t.Context(), parse(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back, when_no_backend: queue}}
pools:
  back:
    policy: source_hash
    hash: {seed: pepper, max_load: 150%}
    zone: here
    backends:
      - {address: "192.0.2.1:1", zone: here, max_connections: 7, weight: 3}
      - {address: "192.0.2.2:1", zone: there, priority: 4}
      - {address: "192.0.2.3:1", backup: true}
    connect: {timeout: 2s, attempts: 2, hedge: 100ms}
    queue: {size: 9, timeout: 4s}
    outlier: {failures: 2, eject: 3s, max_ejected: 40%}
    panic_threshold: 20%
    slow_start: 5s
    health: {type: http, port: 81, interval: 3s}
`), nobody)
	if err != nil {
		t.Fatal(err)
	}
	l := state.Listeners[0]
	if l.NoBackend != proxy.QueueClient || l.Pool.QueueTimeout != 4*time.Second || l.Pool.Hedge != 100*time.Millisecond {
		t.Errorf("listener = %+v, pool = %+v", l.NoBackend, l.Pool.QueueTimeout)
	}
	near, far, backup := l.Pool.Members[0], l.Pool.Members[1], l.Pool.Members[2]
	if near.MaxConnections != 7 || near.Weight != 3 || near.Far || near.Priority != 0 {
		t.Errorf("the first backend is %+v", near)
	}
	if !far.Far || far.Priority != 4 || backup.Priority != backupPriority || !backup.Far {
		t.Errorf("priorities = %d, %d; far = %v, %v", far.Priority, backup.Priority, far.Far, backup.Far)
	}
	o := balancerOptions(m.order[0].config)
	o.Seed = 0
	want := balancer.Options{
		Policy: "source_hash", HashSeed: "pepper", MaxLoad: 150, SlowStart: 5 * time.Second, PanicThreshold: 20, Queue: 9,
		Outlier: &balancer.Outlier{Failures: 2, Eject: 3 * time.Second, MaxEjected: 40},
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("options = %+v and %+v, want %+v and %+v", o, *o.Outlier, want, *want.Outlier)
	}
	targets := m.groups[0].Targets
	if got := targets[0].Addr.String(); got != "192.0.2.1:81" {
		t.Errorf("checked at %s", got)
	}
	if got := targets[2].Addr.String(); got != "192.0.2.3:81" {
		t.Errorf("checked at %s", got)
	}
	if n := m.Descriptors(); n != 3 {
		t.Errorf("%d descriptors for checks, want 3", n)
	}
}

// TestChecksKnowNames: checks ask for a backend by its configured name, and connect to its address.
func TestChecksKnowNames(t *testing.T) {
	lookup := (&names{known: map[string][]string{"localhost": {"127.0.0.1"}, "db.test": {"2001:db8::1"}}}).lookup
	_, m, err := Build(t.Context(), parse(t, `
listeners: {front: {bind: "127.0.0.1:9", pool: back}}
pools:
  back:
    backends: ["localhost:1", "db.test:2", "192.0.2.1:3", "[2001:db8::2]:4", "[fe80::1%77]:5", "unix:/run/x"]
    health: {type: http}
`), lookup)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"localhost 127.0.0.1:1", "db.test [2001:db8::1]:2", " 192.0.2.1:3", " [2001:db8::2]:4", " [fe80::1%77]:5", " /run/x",
	} {
		if target := m.groups[0].Targets[i]; target.Name+" "+target.Addr.String() != want {
			t.Errorf("checks ask %s by the name %q, want %s", target.Addr, target.Name, want)
		}
	}
}

// TestEachCheck makes each type of check.
func TestEachCheck(t *testing.T) {
	for _, kind := range []config.HealthType{config.HealthTCP, config.HealthTLS, config.HealthHTTP, config.HealthExpect} {
		if checkers[kind] == nil {
			t.Fatalf("no checker for %s", kind)
		}
		h := config.Health{Type: kind, Script: []config.Step{{Send: []byte("x")}}, TLS: kind == config.HealthHTTP, Status: []config.StatusRange{{From: 200, To: 299}}}
		if checkGroup(&h, nil).Checker == nil {
			t.Errorf("%s makes no checker", kind)
		}
	}
}

// silentSecondAgo reports a client of the first backend of a pool that got no answer a second ago.
func silentSecondAgo(p *proxy.Pool) {
	then := rawsys.Monotonic() - int64(time.Second)
	p.Balancer.Silent(p.Members[0].Backend, balancer.Silence{Asked: then, Now: then})
}

// TestTicksDespiteEvents has events come faster than ticks: time goes on for the balancers all the same.
func TestTicksDespiteEvents(t *testing.T) {
	m, w, p, _ := watching(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["192.0.2.1:1", "192.0.2.2:1"], outlier: {failures: 1, eject: 1s, max_ejected: 50%}}}
`)
	defer runs(t, m, p)()
	silentSecondAgo(w.pool)
	give, every := time.After(20*tickEvery), time.Tick(tickEvery/5)
	for w.pool.Members[0].Ejected() {
		select {
		case <-give:
			t.Fatal("the ejection does not end while clients come to an empty queue now and then")
		case <-every:
			m.notify(event{balancer.Event{Kind: balancer.ClientWaits}, w}) // a queue that fills and empties
		}
	}
}
