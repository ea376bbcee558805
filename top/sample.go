package top

import (
	"context"
	"time"

	"l4proxy/admin"
)

// patience bounds the requests of one sample: a process that hangs still accepts connections.
const patience = 5 * time.Second

// busiest is how many connections are asked for. Each costs the proxy two system calls.
const busiest = 200

// sample is what the source said at one moment.
type sample struct {
	at     time.Time
	status *admin.Status
	stats  *admin.Stats // nil: the proxy does not count
}

// take asks the source for a sample.
func take(ctx context.Context, source Source) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, err := source.Status(ctx)
	if err != nil {
		return nil, err
	}
	s := &sample{at: time.Now(), status: status}
	if stats, err := source.Stats(ctx); err == nil {
		s.stats = stats
	}
	return s, nil
}

// unknown is a rate that cannot be computed yet, or not at all.
const unknown = -1.0

// rate is the growth of a counter per second. A counter that went back began again.
func rate(now, before uint64, seconds float64) float64 {
	if seconds <= 0 || now < before {
		return unknown
	}
	return float64(now-before) / seconds
}

// listenerRates are per second.
type listenerRates struct {
	accepted, denied, failed, in, out float64
}

type poolRates struct {
	dials, failed float64
	p50, p99      float64 // of the time that dials took, in seconds; unknown without stats
}

type backendKey struct{ pool, address, resolved string }

type backendRates struct{ picked, failed float64 }

// rates are the differences of two samples.
type rates struct {
	listeners map[string]listenerRates
	pools     map[string]poolRates
	backends  map[backendKey]backendRates
	all       listenerRates
}

// ratesOf compares two samples; before is nil for the first.
func ratesOf(now, before *sample) rates {
	r := rates{
		listeners: make(map[string]listenerRates), pools: make(map[string]poolRates), backends: make(map[backendKey]backendRates),
		all: listenerRates{unknown, unknown, unknown, unknown, unknown},
	}
	if before == nil {
		return r
	}
	r.ofBackends(now, before)
	if now.stats != nil && before.stats != nil {
		r.ofStats(now.stats, before.stats)
	}
	return r
}

func (r *rates) ofBackends(now, before *sample) {
	seconds := now.at.Sub(before.at).Seconds()
	old := make(map[backendKey]*admin.BackendStatus)
	for i := range before.status.Pools {
		p := &before.status.Pools[i]
		for j := range p.Backends {
			old[keyOf(p.Name, &p.Backends[j])] = &p.Backends[j]
		}
	}
	for i := range now.status.Pools {
		p := &now.status.Pools[i]
		for j := range p.Backends {
			b := &p.Backends[j]
			key := keyOf(p.Name, b)
			if o := old[key]; o != nil {
				r.backends[key] = backendRates{rate(b.Total, o.Total, seconds), rate(b.FailedDials, o.FailedDials, seconds)}
			}
		}
	}
}

func keyOf(pool string, b *admin.BackendStatus) backendKey {
	return backendKey{pool, b.Address, b.Resolved}
}

func (r *rates) ofStats(now, before *admin.Stats) {
	seconds := now.Time.Sub(before.Time).Seconds()
	old := make(map[string]*admin.ListenerStats)
	for i := range before.Listeners {
		old[before.Listeners[i].Name] = &before.Listeners[i]
	}
	for i := range now.Listeners {
		l := &now.Listeners[i]
		o := old[l.Name]
		if o == nil {
			continue
		}
		one := listenerRates{
			accepted: rate(l.Accepted, o.Accepted, seconds), denied: rate(l.Denied, o.Denied, seconds), failed: rate(l.Failed, o.Failed, seconds),
			in: rate(l.BytesIn, o.BytesIn, seconds), out: rate(l.BytesOut, o.BytesOut, seconds),
		}
		r.listeners[l.Name] = one
		r.all.add(one)
	}
	pools := make(map[string]*admin.PoolStats)
	for i := range before.Pools {
		pools[before.Pools[i].Name] = &before.Pools[i]
	}
	for i := range now.Pools {
		p := &now.Pools[i]
		if o := pools[p.Name]; o != nil {
			r.pools[p.Name] = poolRates{rate(p.Dials, o.Dials, seconds), rate(p.FailedDials, o.FailedDials, seconds), p.DialP50, p.DialP99}
		}
	}
}

// add adds the rates of one listener, as far as they are known.
func (r *listenerRates) add(l listenerRates) {
	for _, pair := range []struct {
		sum *float64
		one float64
	}{{&r.accepted, l.accepted}, {&r.denied, l.denied}, {&r.failed, l.failed}, {&r.in, l.in}, {&r.out, l.out}} {
		if pair.one != unknown {
			*pair.sum = max(*pair.sum, 0) + pair.one
		}
	}
}

func (r *rates) listener(name string) listenerRates {
	if found, ok := r.listeners[name]; ok {
		return found
	}
	return listenerRates{unknown, unknown, unknown, unknown, unknown}
}

func (r *rates) pool(name string) poolRates {
	if found, ok := r.pools[name]; ok {
		return found
	}
	return poolRates{unknown, unknown, unknown, unknown}
}

func (r *rates) backend(key backendKey) backendRates {
	if found, ok := r.backends[key]; ok {
		return found
	}
	return backendRates{unknown, unknown}
}
