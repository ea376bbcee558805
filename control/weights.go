package control

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxWeight is the largest weight that an operator can set. It is that of the configuration.
const MaxWeight = 1000

// Weight is a weight that an operator has given a backend while the proxy runs. Its JSON form is
// part of the hand-over format (docs/handover.md): fields are added, never renamed.
type Weight struct {
	Pool string `json:"pool"`
	// Backend is the address that the operator gave.
	Backend string    `json:"backend"`
	Weight  int       `json:"weight"`
	Since   time.Time `json:"since"`
	// Configured is what the configuration says, or a service record. If the addresses of a name
	// have several weights, it is one of them.
	Configured int `json:"configured"`
}

// weight is a Weight that is in effect.
type weight struct {
	value int
	name  string // of the backend: its address as configured
	since time.Time
	gone  time.Time // when the backend left the configuration; zero if it has not
}

// lapsed reports whether its backend left the configuration too long ago.
func (w *weight) lapsed() bool { return !w.gone.IsZero() && time.Since(w.gone) >= rollbackTime }

// weights are those in effect, by pool and address. They are kept by name, so that they outlive a
// configuration.
type weights map[string]map[string]*weight

// find returns the weight that a backend has been given, nil if there is none. Its own address
// counts before the name that has it.
func (w weights) find(pool string, key BackendKey) *weight {
	of := w[pool]
	if len(of) == 0 { // Endpoint.String makes a text
		return nil
	}
	for _, address := range []string{key.Endpoint.String(), key.Address} {
		if found := of[address]; found != nil && !found.lapsed() {
			return found
		}
	}
	return nil
}

// set notes the weight of the backends with an address, nil for the configured one. Those of its
// parts are over.
func (w weights) set(pool, address string, keys []BackendKey, next *weight) {
	of := w[pool]
	delete(of, address)
	if address == keys[0].Address { // of a name: its addresses follow it from now on
		for _, key := range keys {
			delete(of, key.Endpoint.String())
		}
	}
	if next == nil {
		return
	}
	if of == nil {
		of = make(map[string]*weight)
		w[pool] = of
	}
	of[address] = next
}

// SetWeight gives a backend another weight, which is known by its address as configured or as
// resolved; 0 returns to the configured one. A name stands for all of its addresses, now and later.
// An empty pool means the only one that has the backend.
//
// The weight outlives reloads, also one that changes the configured weight, until the backend
// leaves the configuration. Connections stay where they are; a slow start continues toward the new
// weight.
func (l *Live) SetWeight(pool, address string, value int) (Weight, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if value < 0 || value > MaxWeight {
		return Weight{}, fmt.Errorf("weight %d is out of range: from 1 to %d", value, MaxWeight)
	}
	pool, keys, err := l.findBackend(pool, address)
	if err != nil {
		return Weight{}, err
	}
	name := keys[0].Address
	if value == 0 && address != name && l.weights[pool][name] != nil {
		return Weight{}, fmt.Errorf("backend %s has the weight of its name: reset that of %s", address, name)
	}
	live := l.pools[pool]
	previous, _ := live.weightsOf(keys[0])
	before := l.weights[pool][address]
	var next *weight
	if value > 0 {
		next = &weight{value: value, name: name, since: time.Now()}
	}
	l.weights.set(pool, address, keys, next)
	if err := l.reweigh(pool); err != nil { // not after New
		l.weights.set(pool, address, keys, before)
		return Weight{}, err
	}
	now, configured := l.pools[pool].weightsOf(keys[0])
	l.log.Info("backend weight changed", "pool", pool, "backend", address, "weight", now, "previous", previous, "configured", configured)
	return Weight{Pool: pool, Backend: address, Weight: now, Configured: configured, Since: time.Now()}, nil
}

// reweigh puts the weights of a pool into effect.
func (l *Live) reweigh(pool string) error {
	old := l.pools[pool]
	next := old.with(old.plan, l.wanted())
	if next.picksLike(old) {
		return nil
	}
	if err := next.balancer.Update(next.members, next.options, l.clock()); err != nil {
		return fmt.Errorf("pool %s: %w", pool, err)
	}
	next.watch.settings.Post(next.settings())
	l.pools[pool] = next
	return nil
}

// weightsOf are the weight of a backend in effect, and the one that the plan has.
func (p *livePool) weightsOf(key BackendKey) (now, planned int) {
	for i := range p.plan.Members {
		if p.plan.Members[i].Key == key {
			return p.members[i].Weight, p.plan.Members[i].Weight
		}
	}
	return 0, 0
}

// Weights returns the weights that an operator has set, by pool and address.
func (l *Live) Weights() []Weight {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Weight
	for pool, of := range l.weights {
		for address, w := range of {
			if !w.gone.IsZero() {
				continue
			}
			shown := Weight{Pool: pool, Backend: address, Weight: w.value, Since: w.since}
			if _, keys, err := l.findBackend(pool, address); err == nil {
				_, shown.Configured = l.pools[pool].weightsOf(keys[0])
			}
			all = append(all, shown)
		}
	}
	slices.SortFunc(all, func(a, b Weight) int { return strings.Compare(a.Pool+"\x00"+a.Backend, b.Pool+"\x00"+b.Backend) })
	return all
}

// RestoreWeights puts weights of another process into effect, before Run. What they name and this
// configuration does not have is ignored.
func (l *Live) RestoreWeights(all []Weight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := make(map[string]bool)
	for _, saved := range all {
		pool, keys, err := l.findBackend(saved.Pool, saved.Backend)
		if err != nil || saved.Weight < 1 || saved.Weight > MaxWeight {
			continue
		}
		l.weights.set(pool, saved.Backend, keys, &weight{value: saved.Weight, name: keys[0].Address, since: saved.Since})
		changed[pool] = true
	}
	for pool := range changed {
		if err := l.reweigh(pool); err != nil { // not after New
			l.log.Error("pool not updated", "pool", pool, "error", err.Error())
		}
	}
}

// dropWeights forgets the weights of backends that the configuration does not have, after
// rollbackTime: a reload that is rolled back must not change them.
func (l *Live) dropWeights() {
	for pool, of := range l.weights {
		for address, w := range of {
			stays := l.pools[pool] != nil && l.pools[pool].has(address, w.name)
			switch {
			case w.lapsed():
				delete(of, address)
			case stays:
				w.gone = time.Time{}
			case w.gone.IsZero():
				w.gone = time.Now()
			}
		}
		if len(of) == 0 {
			delete(l.weights, pool)
		}
	}
}

// has reports whether the pool has a backend with an address or an entry with a name.
func (p *livePool) has(address, name string) bool {
	for key := range p.backends {
		if key.Address == name || key.matches(address) {
			return true
		}
	}
	return false
}

// wanted is what an operator wants of the backends.
type wanted struct {
	drains  *drains
	weights weights
}

func (l *Live) wanted() wanted { return wanted{&l.drains, l.weights} }
