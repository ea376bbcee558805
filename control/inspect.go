package control

import (
	"maps"
	"slices"
	"strings"
	"time"

	"l4proxy/backend"
	"l4proxy/balancer"
	"l4proxy/proxy"
)

// PoolInfo describes a pool at a moment.
type PoolInfo struct {
	Name, Policy string
	// CanServe reports whether any backend can serve.
	CanServe bool
	// Queued is the number of clients that wait for a slot on a backend.
	Queued int
	// Connections are those of the pool, and Limit is the most of them; 0 means no limit.
	Connections, Limit int64
	Backends           []BackendInfo // in the order of the configuration
}

// BackendInfo describes a backend of a pool at a moment.
type BackendInfo struct {
	balancer.Member
	Key BackendKey
	// Since is when the checks found its health, and Err why the last check failed. Both are zero
	// if it is not checked.
	Since time.Time
	Err   error
	// Drained is when an operator drained it or set it down.
	Drained time.Time
	// ConfiguredWeight is what an operator has replaced, or Weight.
	ConfiguredWeight int
}

// Clock is a time of the clock of backends as a time of day. 0 is the zero time.
func (l *Live) Clock(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(at - l.clock()))
}

// RetryIn is how long a backoff or an ejection still lasts; 0 if it is over.
func (b *BackendInfo) RetryIn(now int64) time.Duration {
	return time.Duration(max(0, max(b.BackoffUntil(), b.EjectedUntil())-now))
}

// Now is the time that RetryIn compares with.
func (l *Live) Now() int64 { return l.clock() }

// Pools describes all pools, by name.
func (l *Live) Pools() []PoolInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	pools := make([]PoolInfo, 0, len(l.pools))
	for _, name := range slices.SortedFunc(maps.Keys(l.pools), strings.Compare) {
		pools = append(pools, l.pools[name].describe(name, &l.drains))
	}
	return pools
}

func (p *livePool) describe(name string, drains *drains) PoolInfo {
	stats := p.balancer.Stats()
	info := PoolInfo{
		Name: name, Policy: p.options.Policy, CanServe: p.watch.shownCanServe.Load(),
		Queued: stats.Waiting, Connections: stats.Connections, Limit: stats.Limit, Backends: make([]BackendInfo, 0, len(p.members)),
	}
	keys := make(map[*backend.Backend]BackendKey, len(p.backends))
	for key, b := range p.backends {
		keys[b] = key
	}
	checks := p.watch.shownChecks.Load()
	for i, m := range p.members {
		b := BackendInfo{Member: m, Key: keys[m.Backend], ConfiguredWeight: p.plan.Members[i].Weight}
		if checks != nil {
			if last, checked := checks.Last(m.Backend); checked {
				b.Since, b.Err = last.Since, last.Err
			}
		}
		if len(drains.backends[name]) > 0 { // find makes texts of addresses
			if d := drains.find(name, b.Key); d != nil {
				b.Drained = d.since
			}
		}
		info.Backends = append(info.Backends, b)
	}
	return info
}

// PoolView is a pool at a moment, with less than PoolInfo has: making it takes little time, even
// with thousands of backends.
type PoolView struct {
	Name     string
	CanServe bool
	Balancer *balancer.Balancer
	Members  []balancer.Member // not to be changed
}

// PoolViews are all pools, by name.
func (l *Live) PoolViews() []PoolView {
	l.mu.Lock()
	defer l.mu.Unlock()
	views := make([]PoolView, 0, len(l.pools))
	for _, name := range slices.SortedFunc(maps.Keys(l.pools), strings.Compare) {
		p := l.pools[name]
		views = append(views, PoolView{name, p.watch.shownCanServe.Load(), p.balancer, p.members})
	}
	return views
}

// ListenerInfo describes a listener at a moment.
type ListenerInfo struct {
	*proxy.Listener
	// Closed says that no backend of its pool can serve (when_no_backend: unlisten).
	Closed bool
}

// Listeners describes all listeners, in the order of the configuration.
func (l *Live) Listeners() []ListenerInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == nil {
		return nil
	}
	all := make([]ListenerInfo, 0, len(l.state.Listeners))
	for _, listener := range l.state.Listeners {
		all = append(all, ListenerInfo{listener, l.followers.closed(listener.Name)})
	}
	return all
}

// closed reports whether a listener is closed because its pool cannot serve.
func (f *followers) closed(listener string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.watches[listener]
	return w != nil && !w.shownCanServe.Load()
}
