package config

// Settings that are right by themselves and yet would do nothing, or cannot go
// together. Whoever wrote one of them counts on it, so it is an error. Keys
// that were left out, or that repeat a default, count on nothing.

// checkHealthless looks at what the pool at n says for backends that are down,
// when nothing tells that they are.
func (d *decoder) checkHealthless(p *Pool, n *node) {
	if p.PanicThreshold > 0 && p.Outlier == nil {
		d.faultf(n.find("panic_threshold"), "add one of them, as in health: {type: tcp}, or remove it",
			"panic_threshold has no effect without health and outlier")
	}
	for _, on := range []struct{ key, action, effectless string }{
		{"on_down", p.OnDown, defaultOnDown},
		{"on_recovered", p.OnRecovered, defaultOnRecovered},
	} {
		if on.action != on.effectless {
			d.faultf(n.find(on.key), "add health: {type: tcp}, or remove it",
				"%s has no effect without health, which tells when a backend is down", on.key)
		}
	}
}

// checkTiers looks at what depends on backends that serve before others, in
// the pool at n; backends is its list.
func (d *decoder) checkTiers(p *Pool, n, backends *node) {
	if p.OnRecovered != defaultOnRecovered && backends.findInside("backup") == nil &&
		backends.findInside("priority") == nil && backends.findInside("zone") == nil {
		d.faultf(n.find("on_recovered"), "write {address: ..., backup: true} for some, or remove it",
			"on_recovered has no effect when no backend comes before another: there is no backup, priority or zone")
	}
	ofBackend := backends.findInside("zone")
	switch ofPool := n.find("zone"); {
	case ofBackend != nil && ofPool == nil:
		d.faultf(ofBackend, "write zone: NAME in the pool too, for where the proxy is, or remove it",
			"the zone of a backend has no effect without the zone of the pool")
	case ofBackend == nil && ofPool != nil:
		d.faultf(ofPool, "write {address: ..., zone: NAME} for the backends, or remove it",
			"the zone of the pool has no effect when no backend has one")
	}
}

// checkPolicy looks at what depends on the policy of the pool at n; hash is
// the value of that key.
func (d *decoder) checkPolicy(p *Pool, n, hash *node) {
	hashes := p.Policy == "source_hash" || p.Policy == "maglev"
	if hash != nil && !hashes {
		d.faultf(n.find("hash"), "remove it, or write policy: source_hash or maglev", "hash has no effect with the policy %s", p.Policy)
	}
	if hash != nil && p.Policy == "maglev" {
		if at := hash.find("max_load"); at != nil {
			d.faultf(at, "remove it, or write policy: source_hash", "hash.max_load is for the policy source_hash, not maglev")
		}
	}
	if p.Rebalance != nil && (hashes || p.Policy == "first") {
		d.faultf(n.find("rebalance"), "remove it, or write policy: least_conn",
			"rebalance does not go with the policy %s, which would send the connections back", p.Policy)
	}
	if p.SlowStart > 0 && p.Policy == "first" {
		d.faultf(n.find("slow_start"), "remove it, or write another policy", "slow_start has no effect with the policy first, which knows no shares")
	}
}

// poolUse is a pool as the listeners see it.
type poolUse struct {
	node     *node // the pool's mapping
	backends *node // its list of backends; nil when that is missing
	panics   bool  // it has a panic_threshold
	queued   bool  // a listener lets its clients wait there
}

// checkListener looks at what the listener at n does without a backend;
// understood tells whether that is known.
func (d *decoder) checkListener(l *Listener, n *node, understood bool) {
	pool := d.pools[l.Pool]
	if pool == nil || !understood {
		d.unclear = true
	}
	if !understood {
		return
	}
	at := n.find("when_no_backend")
	switch l.WhenNoBackend {
	case "unlisten":
		d.checkUnlisten(l, at, pool)
	case "queue":
		if pool == nil {
			break
		}
		pool.queued = true
		if pool.node.find("queue") == nil {
			d.faultf(at, "write queue: {size: 1000, timeout: 10s} there", "when_no_backend: queue needs a queue in the pool %s", l.Pool)
		}
	}
	if message := n.find("no_backend_message"); message != nil && l.WhenNoBackend != "message" {
		d.faultf(message, "write that, or remove it", "no_backend_message has no effect without when_no_backend: message")
	}
}

func (d *decoder) checkUnlisten(l *Listener, at *node, pool *poolUse) {
	for _, b := range l.Binds {
		if b.Network == "unix" {
			d.faultf(at, "write another action, or give the address to a listener of its own", "when_no_backend: unlisten is not for a unix socket, and %s is one", b)
			break
		}
	}
	if pool == nil {
		return
	}
	if pool.node.find("health") == nil {
		d.faultf(at, "write health: {type: tcp} there",
			"when_no_backend: unlisten needs health in the pool %s, or nobody would notice that a backend is back", l.Pool)
	}
	if pool.panics {
		d.faultf(at, "remove one of them",
			"when_no_backend: unlisten has no effect with panic_threshold in the pool %s: then a backend that is down is better than none", l.Pool)
	}
}

// idleQueues finds the queues in which nobody can wait, once all listeners
// have been read.
func (d *decoder) idleQueues(pools []string) {
	if d.unclear {
		return
	}
	for _, name := range pools {
		pool := d.pools[name]
		if pool == nil || pool.queued || pool.backends == nil || pool.backends.findInside("max_connections") != nil {
			continue
		}
		if at := pool.node.find("queue"); at != nil {
			d.faultf(at, "write max_connections for the backends, or when_no_backend: queue in the listener, or remove it",
				"nobody waits in this queue: no backend can be full, and no listener asks for it")
		}
	}
}
