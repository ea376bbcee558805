package control

import (
	"fmt"
	"slices"

	"l4proxy/backend"
	"l4proxy/proxy"
)

// ReloadGuard says by how much things may get worse after a reload before it is rolled back. A
// value of 0 stands for that of [DefaultReloadGuard].
type ReloadGuard struct {
	// Failed is by how many percentage points the share of new connections that are not served may
	// grow. Before means: since the reload before, or the start.
	Failed int `json:"failed,omitempty"`
	// Unusable is by how many percentage points the share of usable backends may fall, of any pool.
	Unusable int `json:"unusable,omitempty"`
	// Least is how many new connections it takes to judge Failed.
	Least int `json:"least,omitempty"`
}

// DefaultReloadGuard has the margins that are used if none are given.
var DefaultReloadGuard = ReloadGuard{Failed: 5, Unusable: 30, Least: 20}

// failures are the reasons of clients that were not served. Denied clients count: a reload that
// denies all of them is a mistake.
var failures = []proxy.Reason{
	proxy.ReasonDenied, proxy.ReasonClientConnections, proxy.ReasonClientRate, proxy.ReasonBadProxyHeader,
	proxy.ReasonBadClientHello, proxy.ReasonHandshakeTimeout, proxy.ReasonNoRoute, proxy.ReasonNoBackend,
	proxy.ReasonQueueFull, proxy.ReasonQueueTimeout,
	proxy.ReasonConnectRefused, proxy.ReasonConnectTimeout, proxy.ReasonConnectUnreachable,
	proxy.ReasonLocalPorts, proxy.ReasonNoSource, proxy.ReasonLocalResources,
}

func (g *ReloadGuard) check() error {
	if slices.ContainsFunc([]int{g.Failed, g.Unusable}, func(p int) bool { return p < 0 || p > 100 }) {
		return fmt.Errorf("guard: failed and unusable are percentage points: write 1 to 100")
	}
	if g.Least < 0 {
		return fmt.Errorf("guard: least is a number of connections: write 1 or more")
	}
	return nil
}

func (g *ReloadGuard) withDefaults() ReloadGuard {
	full := *g
	for _, v := range []struct{ dst, deflt *int }{
		{&full.Failed, &DefaultReloadGuard.Failed}, {&full.Unusable, &DefaultReloadGuard.Unusable}, {&full.Least, &DefaultReloadGuard.Least},
	} {
		if *v.dst == 0 {
			*v.dst = *v.deflt
		}
	}
	return full
}

// sample is how things were at a moment.
type sample struct {
	listeners map[string]tally // clients, since the start
	pools     map[string]tally // backends
	// failedBefore is the share of clients that were not served in the time before, 0 to 1.
	failedBefore float64
}

// tally is some of all.
type tally struct{ some, all uint64 }

// share is what part of all some is, or otherwise without any.
func (t tally) share(otherwise float64) float64 {
	if t.all == 0 {
		return otherwise
	}
	return float64(t.some) / float64(t.all)
}

// measure takes a sample.
func (r *Reloader) measure() sample {
	s := sample{listeners: make(map[string]tally), pools: r.live.usableBackends()}
	if r.o.Counts == nil {
		return s
	}
	for _, l := range r.o.Counts().Listeners {
		t := s.listeners[l.Listener.Name]
		t.all += l.Accepted
		for _, reason := range failures {
			t.some += l.Ended(proxy.SideProxy, reason) + l.Ended(proxy.SideBackend, reason) + l.Ended(proxy.SideClient, reason)
		}
		s.listeners[l.Listener.Name] = t
	}
	return s
}

// since is how many clients came, and how many of them were not served, since an earlier sample. A
// listener that was removed and added meanwhile counts from 0.
func (s sample) since(before sample) (t tally) {
	for name, now := range s.listeners {
		was := before.listeners[name]
		if was.all > now.all || was.some > now.some {
			was = tally{}
		}
		t.all += now.all - was.all
		t.some += now.some - was.some
	}
	return t
}

// worse says what got worse by more than the margins, "" if nothing did.
func (g *ReloadGuard) worse(before, now sample) string {
	if t := now.since(before); t.all >= uint64(g.Least) {
		share := t.share(0)
		if share > before.failedBefore+float64(g.Failed)/100 {
			return fmt.Sprintf("%d of %d new connections were not served (%.1f%%, before %.1f%%)",
				t.some, t.all, 100*share, 100*before.failedBefore)
		}
	}
	for _, name := range sortedKeys(now.pools) {
		was, is := before.pools[name], now.pools[name]
		if share := is.share(0); was.share(1)-share > float64(g.Unusable)/100 {
			return fmt.Sprintf("%d of %d backends of pool %s are usable (before %d of %d)", is.some, is.all, name, was.some, was.all)
		}
	}
	return ""
}

// usableBackends counts the backends of each pool, and those that get clients.
func (l *Live) usableBackends() map[string]tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	pools := make(map[string]tally, len(l.pools))
	for name, pool := range l.pools {
		var t tally
		for _, m := range pool.members {
			t.all++
			if m.Health() != backend.HealthDown && !m.Ejected() && !m.InBackoff() {
				t.some++
			}
		}
		pools[name] = t
	}
	return pools
}
