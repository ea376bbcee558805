package control

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/config"
	"l4proxy/health"
	"l4proxy/internal/mailbox"
	"l4proxy/internal/rawsys"
	"l4proxy/proxy"
)

const (
	// tickEvery is how often balancers are told the time while they wait for it.
	tickEvery = 100 * time.Millisecond
	// eventsKept can wait for the monitor. More are lost to the log; nothing depends on them.
	eventsKept = 1024
)

// Monitor watches over the backends while the proxy runs: it has them checked, tells the balancers, says in the log what
// happens, and does what the configuration wants done with connections and listeners when a backend goes or comes.
type Monitor struct {
	drainTimeout time.Duration
	pools        map[string]*watched
	byBackend    map[*backend.Backend]*watched
	order        []*watched
	groups       []health.Group
	checks       *health.Monitor // of groups; nil without any
	events       chan event
	wake         chan struct{} // see wantTicks
	lost         atomic.Uint64

	// What Run was given.
	server dataPlane
	log    *slog.Logger
}

// dataPlane is what is asked of a [proxy.Server].
type dataPlane interface {
	Evict(proxy.Evict)
	SetListening(l *proxy.Listener, on bool)
	Idle(b *backend.Backend, quiet time.Duration, most int) []proxy.IdleConn
	EndIdle(i proxy.IdleConn, reason proxy.Reason)
}

// watched is a pool under the monitor.
type watched struct {
	config *config.Pool
	pool   *proxy.Pool
	// listeners are those that do not listen while nobody can serve.
	listeners []*proxy.Listener

	mu     sync.Mutex // health changes and events come on different goroutines
	served bool       // somebody can serve, when that was last looked at
	panics bool       // too few can, so that all are used
}

func newMonitor(drainTimeout time.Duration) *Monitor {
	return &Monitor{
		drainTimeout: drainTimeout,
		pools:        make(map[string]*watched),
		byBackend:    make(map[*backend.Backend]*watched),
		events:       make(chan event, eventsKept),
		wake:         make(chan struct{}, 1),
	}
}

// event is what a balancer has found out, and the pool that it picks for.
type event struct {
	balancer.Event
	pool *watched
}

// watch takes a pool, and its backends if they are to be checked.
func (m *Monitor) watch(p *config.Pool, pool *proxy.Pool, targets []health.Target) {
	w := &watched{config: p, pool: pool, served: true}
	m.pools[p.Name] = w
	m.order = append(m.order, w)
	pool.Balancer.Observe(func(e balancer.Event) { m.notify(event{e, w}) })
	for _, member := range pool.Members {
		m.byBackend[member.Backend] = w
	}
	if p.Health != nil {
		m.groups = append(m.groups, checkGroup(p.Health, targets))
	}
}

// watchesAll is called when it has all pools.
func (m *Monitor) watchesAll() {
	if len(m.groups) > 0 {
		m.checks = health.New()
		m.checks.Trouble = m.trouble
	}
}

// Descriptors is the most file descriptors that the monitor has open.
func (m *Monitor) Descriptors() int {
	return health.Descriptors(m.groups)
}

// unlisten has a listener not listen while no backend of its pool can serve.
func (m *Monitor) unlisten(l *proxy.Listener) {
	w := m.pools[l.Pool.Name]
	w.listeners = append(w.listeners, l)
}

// notify takes what a balancer has found out. Loops call it.
func (m *Monitor) notify(e event) {
	m.wantTicks()
	if e.Kind == balancer.ClientWaits {
		return // there is nothing to log
	}
	select {
	case m.events <- e:
	default:
		m.lost.Add(1)
	}
}

// wantTicks has balancers told the time from now on, until none of them waits for it.
func (m *Monitor) wantTicks() {
	select {
	case m.wake <- struct{}{}:
	default: // somebody else has asked already
	}
}

// Run watches until ctx is done, and returns when everything that it has started has ended.
func (m *Monitor) Run(ctx context.Context, server *proxy.Server, log *slog.Logger) {
	m.run(ctx, server, log)
}

func (m *Monitor) run(ctx context.Context, server dataPlane, log *slog.Logger) {
	m.server, m.log = server, log
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.followEvents(ctx) })
	if m.checks != nil {
		all.Go(func() { m.checks.Run(ctx) })
		for _, g := range m.groups {
			changes := m.checks.Add(g).Changes
			all.Go(func() { m.followChecks(ctx, changes) })
		}
	}
	for _, w := range m.order {
		if len(w.pool.Members) == 0 {
			m.look(w) // without backends, no event will cause a look
		}
		if w.config.Rebalance != nil {
			r := rebalancer{rate: *w.config.Rebalance, pool: w.pool, server: server, log: log}
			all.Go(func() { r.run(ctx) })
		}
	}
}

// followEvents logs what balancers tell, and tells them the time as long as one of them waits for it.
func (m *Monitor) followEvents(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	ticker.Stop()
	defer ticker.Stop()
	ticking := false
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-m.events:
			m.logEvent(e)
		case <-m.wake:
			if !ticking {
				ticking = true
				ticker.Reset(tickEvery)
			}
		case <-ticker.C:
			if ticking = m.tick(); !ticking {
				ticker.Stop()
			}
		}
	}
}

// tick reports whether any balancer waits for the next one.
func (m *Monitor) tick() (again bool) {
	for _, w := range m.order {
		again = w.pool.Balancer.Tick(rawsys.Monotonic()) || again
	}
	return again
}

func (m *Monitor) logEvent(e event) {
	if n := m.lost.Swap(0); n > 0 {
		m.log.Warn("events of backends were not logged because there were too many", "count", n)
	}
	about := []any{"pool", e.pool.pool.Name, "backend", e.Backend.Address}
	rest := seconds("for", e.Until-e.Now)
	switch e.Kind {
	case balancer.BackedOff:
		m.log.Warn("backend does not answer: left aside", append(about, rest)...)
	case balancer.Recovered:
		m.log.Info("backend answers again", append(about, "failures", e.Count)...)
	case balancer.Ejected:
		m.log.Warn("backend ejected: its connections fail", append(about, "failures", e.Count, rest)...)
	case balancer.Returned:
		m.log.Info("ejection of backend is over", about...)
	}
	m.look(e.pool)
}

func seconds(key string, ns int64) slog.Attr {
	return slog.Float64(key, time.Duration(ns).Round(time.Millisecond).Seconds())
}

func (m *Monitor) followChecks(ctx context.Context, changes *mailbox.Inbox[health.Change]) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes.Ready:
			for _, c := range changes.Take() {
				m.healthChanged(c)
			}
		}
	}
}

// healthChanged acts on a change of the checks.
func (m *Monitor) healthChanged(c health.Change) {
	w := m.byBackend[c.Backend]
	w.pool.Balancer.SetHealth(c.Backend, c.To, rawsys.Monotonic())
	about := []any{"pool", w.pool.Name, "backend", c.Backend.Address, "was", c.From.String()}
	if c.To == backend.HealthDown {
		m.log.Warn("backend is down", append(about, "checks", c.Checks, "error", c.Err.Error())...)
		m.ended(c.Backend)
	} else {
		m.log.Info("backend is up", append(about, "checks", c.Checks)...)
		if c.From == backend.HealthDown {
			m.recovered(c.Backend)
		}
	}
	m.look(w)
	m.wantTicks() // a slow start may have begun
}

// trouble tells that checks cannot be made for want of something on this machine; nil that they can again.
func (m *Monitor) trouble(err error) {
	if err != nil {
		m.log.Error("health checks cannot be made: backends stay as they are", "error", err.Error())
		return
	}
	m.log.Info("health checks can be made again")
}

// ended does with the connections of a backend that is down what on_down says.
func (m *Monitor) ended(b *backend.Backend) {
	w := m.byBackend[b]
	m.evict(w, b, w.config.OnDown, proxy.ReasonBackendDown, func() bool { return b.Health() != backend.HealthDown })
}

// recovered does with the connections of the backends that stood in for b what on_recovered says.
func (m *Monitor) recovered(b *backend.Backend) {
	w := m.byBackend[b]
	i := slices.IndexFunc(w.pool.Members, func(m balancer.Member) bool { return m.Backend == b })
	recovered := w.pool.Members[i]
	for _, other := range w.pool.Members {
		if other.Priority > recovered.Priority ||
			other.Priority == recovered.Priority && other.Far && !recovered.Far {
			m.evict(w, other.Backend, w.config.OnRecovered, proxy.ReasonBackendRecovered,
				func() bool { return b.Health() == backend.HealthDown })
		}
	}
}

// Removed does with the connections of a backend that is no longer configured what on_removed says.
func (m *Monitor) Removed(b *backend.Backend) {
	w := m.byBackend[b]
	m.evict(w, b, w.config.OnRemoved, proxy.ReasonBackendRemoved, nil)
}

// evict ends the connections of a backend in one of the ways of the configuration.
func (m *Monitor) evict(w *watched, b *backend.Backend, how config.LiveAction, reason proxy.Reason, unless func() bool) {
	e := proxy.Evict{Backend: b, Reason: reason, Over: w.config.Spread}
	switch how {
	case config.LiveKeep:
		return
	case config.LiveDrain:
		e.After, e.Unless = m.drainTimeout, unless
	case config.LiveReset:
		e.Reset = true
	}
	if n := b.Active(); n > 0 {
		m.log.Info("ending connections of backend", "pool", w.pool.Name, "backend", b.Address, "connections", n,
			"reason", reason.String(), "how", how.String(), seconds("after", int64(e.After)), seconds("over", int64(e.Over)))
		m.server.Evict(e)
	}
}

// look says when nobody in a pool can serve any more, and when somebody can again, and has listeners follow.
func (m *Monitor) look(w *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if panics := w.pool.Balancer.Stats().Panicking; panics != w.panics {
		w.panics = panics
		if panics {
			m.log.Error("too few backends are usable: all are used, whatever their health", "pool", w.pool.Name,
				"panic_threshold", w.config.PanicThreshold)
		} else {
			m.log.Info("enough backends are usable again", "pool", w.pool.Name)
		}
	}
	served := w.pool.Balancer.CanServe()
	if served == w.served {
		return
	}
	w.served = served
	if served {
		m.log.Info("the pool can serve again", "pool", w.pool.Name)
	} else {
		m.log.Error("no backend of the pool can serve", "pool", w.pool.Name)
	}
	for _, l := range w.listeners {
		m.log.Warn("listener follows its pool", "listener", l.Name, "listening", served)
		m.server.SetListening(l, served)
	}
}
