package control

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/health"
	"l4proxy/internal/mailbox"
	"l4proxy/proxy"
)

const (
	// tickEvery is how often Tick is called on a balancer that waits for the time.
	tickEvery = 100 * time.Millisecond
	// maxEvents can wait for a Watch. More are dropped; nothing but the log depends on them.
	maxEvents = 1024
)

// Watch looks after one pool while the proxy runs. It has the backends checked, passes the results
// to the balancer, logs what happens, and acts on the pool's connections and listeners when a
// backend goes or comes. One goroutine does all of it.
type Watch struct {
	balancer  *balancer.Balancer
	monitor   *health.Monitor
	followers *followers
	log       *slog.Logger
	clock     func() int64

	// What other goroutines put in.
	settings *mailbox.Inbox[*settings] // nil stops the Watch
	events   *mailbox.Inbox[balancer.Event]
	admin    *mailbox.Inbox[adminChange]
	waiting  atomic.Int32  // events in it
	lost     atomic.Uint64 // events that it had no room for
	wake     chan struct{} // the balancer waits for the time
	// What they read.
	shownChecks   atomic.Pointer[health.Checks]
	shownCanServe atomic.Bool

	// What follows belongs to Run.
	settled   settings
	members   map[*backend.Backend]balancer.Member
	left      map[*backend.Backend]*departure // have left, and have connections
	retired   bool                            // the pool is removed
	plane     DataPlane
	checks    *health.Checks // nil without checks
	ticker    *time.Ticker   // runs only while the balancer waits for the time
	ticking   bool
	rebalance rebalancer
	canServe  bool // a backend can serve, when that was last looked at
	panicking bool // too few are usable, so that health is ignored
}

// settings are what a Plan says about a pool, with the live objects.
type settings struct {
	rules   Rules
	members []balancer.Member
	checks  *health.Group // nil: none
	// listeners are closed while no backend can serve.
	listeners []*proxy.Listener
}

func newWatch(name string, b *balancer.Balancer, l *Live) *Watch {
	w := &Watch{
		balancer:  b,
		monitor:   l.checks,
		followers: &l.followers,
		log:       l.log.With("pool", name),
		clock:     l.clock,
		settings:  mailbox.NewInbox[*settings](),
		events:    mailbox.NewInbox[balancer.Event](),
		admin:     mailbox.NewInbox[adminChange](),
		wake:      make(chan struct{}, 1),
		canServe:  true,
	}
	w.shownCanServe.Store(true)
	b.Observe(w.observe)
	return w
}

// observe takes what the balancer has found out. Loops call it.
func (w *Watch) observe(e balancer.Event) {
	switch {
	case e.Kind == balancer.ClientWaits: // not logged
	case w.waiting.Add(1) <= maxEvents:
		w.events.Post(e)
	default:
		w.waiting.Add(-1)
		w.lost.Add(1)
	}
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// Stop makes Run treat all backends as removed, and end once no client waits in the queue.
// It returns at once.
func (w *Watch) Stop() { w.settings.Post(nil) }

// Run watches until Stop, or until ctx is done. It returns when everything that it started has
// stopped.
func (w *Watch) Run(ctx context.Context, plane DataPlane) {
	w.plane = plane
	w.ticker = time.NewTicker(tickEvery)
	w.ticker.Stop()
	defer w.ticker.Stop()
	w.rebalance.start(w)
	defer w.rebalance.stop()
	for {
		select {
		case <-ctx.Done():
			w.end()
			return
		case <-w.settings.Ready:
			for _, s := range w.settings.Take() {
				if s == nil {
					w.retired = true
					w.update(&settings{rules: w.settled.rules})
					w.outlast(ctx)
					w.end()
					return
				}
				w.update(s)
			}
		case <-w.events.Ready:
			for _, e := range w.events.Take() {
				w.waiting.Add(-1)
				w.logEvent(e)
			}
			w.look()
		case <-w.admin.Ready:
			for _, c := range w.admin.Take() {
				w.adminChanged(c)
			}
			w.look()
			w.startTicking() // slow starts may have begun
		case <-w.changes():
			for _, c := range w.checks.Changes.Take() {
				w.healthChanged(c)
			}
			w.look()
			w.startTicking() // slow starts may have begun
		case <-w.wake:
			w.startTicking()
		case <-w.ticker.C:
			w.tick()
		case <-w.rebalance.timer.C:
			w.rebalance.step()
		}
	}
}

// changes is ready when a check has changed the health of a backend.
func (w *Watch) changes() <-chan struct{} {
	if w.checks == nil {
		return nil
	}
	return w.checks.Changes.Ready
}

// outlast gives the balancer of a removed pool the time until no client waits in its queue. They
// came while the pool existed, and get a backend of it or wait until their time is over.
func (w *Watch) outlast(ctx context.Context) {
	w.ticker.Reset(tickEvery)
	for w.balancer.Stats().Waiting > 0 {
		select {
		case <-ctx.Done():
			return
		case <-w.ticker.C:
			w.balancer.Tick(w.clock())
		}
	}
}

func (w *Watch) end() {
	w.balancer.Observe(nil)
	if w.checks != nil {
		w.checks.Stop()
	}
}

// startTicking gives the balancer the time from now on, until it no longer waits for it: an idle
// proxy does nothing.
func (w *Watch) startTicking() {
	if !w.ticking {
		w.ticking = true
		w.ticker.Reset(tickEvery)
	}
}

func (w *Watch) tick() {
	if w.ticking = w.balancer.Tick(w.clock()); !w.ticking {
		w.ticker.Stop()
	}
}

// update applies a new plan. The balancer has been updated already.
func (w *Watch) update(next *settings) {
	before := w.settled
	w.settled = *next
	w.members = make(map[*backend.Backend]balancer.Member, len(next.members))
	for _, m := range next.members {
		w.members[m.Backend] = m
	}
	w.updateChecks()
	w.welcome()
	for _, m := range before.members {
		if _, stays := w.members[m.Backend]; !stays {
			w.removed(m.Backend)
		}
	}
	w.rebalance.configure(next.rules.Rebalance)
	down := !w.canServe
	w.look()
	if down && !w.canServe {
		for _, l := range next.listeners {
			if !slices.ContainsFunc(before.listeners, func(old *proxy.Listener) bool { return old.Name == l.Name }) {
				w.setListening(l)
			}
		}
	}
	w.startTicking() // slow starts may have begun
}

func (w *Watch) updateChecks() {
	group := w.settled.checks
	defer func() { w.shownChecks.Store(w.checks) }()
	switch {
	case group != nil && w.checks != nil:
		w.checks.Update(*group)
	case group != nil:
		for i := range group.Targets { // Health is read only now: an older plan may just have changed it
			group.Targets[i].Health = group.Targets[i].Backend.Health()
		}
		w.checks = w.monitor.Add(*group)
	case w.checks != nil:
		w.checks.Stop()
		w.checks = nil
		for _, m := range w.settled.members { // what is not checked is not down
			w.balancer.SetHealth(m.Backend, backend.HealthUnknown, w.clock())
		}
	}
}

// look finds out whether any backend of the pool can serve, and closes or reopens listeners
// accordingly.
func (w *Watch) look() {
	if w.retired {
		return
	}
	if panicking := w.balancer.Stats().Panicking; panicking != w.panicking {
		w.panicking = panicking
		if panicking {
			w.log.Error("panic mode on: too few usable backends, ignoring health",
				"panic_threshold", w.settled.rules.PanicThreshold)
		} else {
			w.log.Info("panic mode off")
		}
	}
	canServe := w.balancer.CanServe()
	if canServe == w.canServe {
		return
	}
	w.canServe = canServe
	w.shownCanServe.Store(canServe)
	if canServe {
		w.log.Info("pool up again")
	} else {
		w.log.Error("pool down: no usable backend")
	}
	for _, l := range w.settled.listeners {
		w.setListening(l)
	}
}

// setListening makes a listener listen only while a backend can serve.
func (w *Watch) setListening(l *proxy.Listener) {
	if !w.followers.setListening(w, l, w.canServe) {
		return // a newer plan is about to come
	}
	if w.canServe {
		w.log.Info("listener reopened: its pool can serve again", "listener", l.Name)
	} else {
		w.log.Warn("listener closed: no backend of its pool can serve", "listener", l.Name)
	}
}

func (w *Watch) logEvent(e balancer.Event) {
	if n := w.lost.Swap(0); n > 0 {
		w.log.Warn("backend events dropped: too many at once", "count", n)
	}
	log := w.log.With("backend", e.Backend.Address)
	rest := e.Until - e.Now
	switch e.Kind {
	case balancer.BackedOff:
		log.Warn("backend unreachable", seconds("retry_in", rest))
	case balancer.Recovered:
		log.Info("backend reachable again", "failures", e.Count)
	case balancer.Ejected:
		log.Warn("backend ejected", "failures", e.Count, seconds("eject", rest))
	case balancer.Returned:
		log.Info("backend ejection ended")
	}
}

func seconds(key string, ns int64) slog.Attr {
	return slog.Float64(key, time.Duration(ns).Round(time.Millisecond).Seconds())
}
