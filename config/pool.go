package config

func defaultPool(name string, pos Position) Pool {
	return Pool{
		Name:        name,
		Policy:      defaultPolicy,
		Connect:     Connect{Timeout: defaultConnectTimeout, Attempts: defaultAttempts},
		OnDown:      defaultOnDown,
		OnRemoved:   defaultOnRemoved,
		OnRecovered: defaultOnRecovered,
		Spread:      defaultSpread,
		Pos:         pos,
	}
}

// pool decodes one pool.
func (d *decoder) pool(m *member) Pool {
	p := defaultPool(m.key, m.position(d.file))
	f, ok := d.object(m.value, m.keyNode(), poolSection)
	if !ok {
		return p
	}
	use := &poolUse{node: m.value, backends: f["backends"]}
	d.pools[m.key] = use
	policyKnown := d.enum(f["policy"], policies, &p.Policy)
	if n := f["backends"]; n != nil {
		p.Backends = d.backends(n)
	}
	if n := f["connect"]; n != nil {
		d.connect(n, f["backends"], &p.Connect)
	}
	if n := f["health"]; n != nil {
		p.Health = d.health(n, p.Backends)
	}
	if n := f["outlier"]; n != nil {
		p.Outlier = d.outlier(n)
	}
	d.percent(f["panic_threshold"], 0, maxPanicThreshold, &p.PanicThreshold)
	use.panics = p.PanicThreshold > 0
	d.duration(f["slow_start"], true, &p.SlowStart)
	d.live(f, m.value, &p)
	if n := f["queue"]; n != nil {
		p.Queue = d.queue(n)
	}
	d.zone(f["zone"], &p.Zone)
	if n := f["hash"]; n != nil {
		d.hash(n, &p.Hash)
	}
	if n := f["rebalance"]; n != nil {
		p.Rebalance = d.rebalance(n)
	}
	if p.Health == nil {
		d.checkHealthless(&p, m.value)
	}
	if n := f["backends"]; n != nil && n.kind == kindList {
		d.checkTiers(&p, m.value, n)
	}
	if policyKnown {
		d.checkPolicy(&p, m.value, f["hash"])
	}
	return p
}

// backends decodes a pool's list of backends, or BACKEND_PORTS.
func (d *decoder) backends(n *node) []Backend {
	if n.kind != kindList {
		fix := ""
		if n.kind == kindString {
			fix = "write [" + quote(n.text) + "]"
		}
		d.expected(n, "a list of backends", fix)
		return nil
	}
	if len(n.items) == 0 {
		d.faultf(n, `write ["127.0.0.1:8081"]`, "there is no backend")
	}
	backends := make([]Backend, 0, len(n.items))
	lines, down := make(map[string]int, len(n.items)), make(map[string]bool)
	for _, item := range n.items {
		b, at, ok := d.backend(item)
		if !ok {
			continue
		}
		if first, ok := lines[b.Address]; ok {
			fix := "remove it, or give the first a higher weight"
			if b.Down != down[b.Address] {
				fix = "keep one of them, with or without down: true"
			}
			d.faultf(at, fix, "the backend %s is repeated, first on line %d", b.Address, first)
			continue
		}
		lines[b.Address], down[b.Address] = at.line, b.Down
		backends = append(backends, b)
	}
	return backends
}

// backend decodes one entry; at is where its address stands.
func (d *decoder) backend(n *node) (b Backend, at *node, ok bool) {
	const what = "host:port or unix:/path"
	address, f := n, fields(nil)
	if n.kind == kindMap {
		f, ok = d.object(n, n, backendSection)
		if !ok || f["address"] == nil {
			return b, n, false
		}
		address = f["address"]
	}
	text, ok := "", false
	if address.kind == kindNumber {
		d.expected(address, what, "write "+quote("127.0.0.1:"+address.text))
	} else {
		text, ok = d.str(address, what)
	}
	if !ok {
		return b, address, false
	}
	b, fault := parseBackend(text)
	if fault != nil {
		d.fault(address, fault)
		return b, address, false
	}
	b.Weight = defaultWeight
	b.Pos = d.position(n)
	if f != nil {
		d.backendKeys(n, f, &b)
	}
	return b, address, true
}

// backendKeys decodes what a mapping says beside the address.
func (d *decoder) backendKeys(n *node, f fields, b *Backend) {
	d.integer(f["weight"], 1, maxWeight, false, &b.Weight)
	d.integer(f["max_connections"], 1, maxConnections, false, &b.MaxConnections)
	d.boolean(f["backup"], &b.Backup)
	d.integer(f["priority"], 0, maxPriority, false, &b.Priority)
	d.zone(f["zone"], &b.Zone)
	d.boolean(f["down"], &b.Down)
	if b.Backup && f["priority"] != nil {
		d.faultf(n.find("priority"), "keep one of them", "priority and backup do not go together: a backup comes after every priority")
	}
}

// zone sets dst to the name of a place.
func (d *decoder) zone(n *node, dst *string) {
	if n == nil {
		return
	}
	name, ok := d.text(n, "the name of a zone")
	if !ok {
		return
	}
	if f := checkName(name); f != nil {
		d.fault(n, f)
		return
	}
	*dst = name
}

// connect decodes how the backends listed in backends are dialled.
func (d *decoder) connect(n, backends *node, c *Connect) {
	f, ok := d.object(n, n, connectSection)
	if !ok {
		return
	}
	timed := d.duration(f["timeout"], false, &c.Timeout)
	d.integer(f["attempts"], 1, maxAttempts, false, &c.Attempts)
	hedged := d.duration(f["hedge"], true, &c.Hedge)
	if c.Hedge == 0 {
		return
	}
	hedge := f["hedge"]
	if timed && hedged && c.Hedge >= c.Timeout {
		d.faultf(hedge, "write a shorter one", "connect.hedge must be shorter than connect.timeout, which is %v", c.Timeout)
	}
	if c.Attempts == 1 {
		d.faultf(hedge, "write attempts: 2, or remove hedge", "connect.hedge has no effect with one attempt")
	}
	if backends != nil && backends.kind == kindList && len(backends.items) == 1 {
		d.faultf(hedge, "remove it, or add a backend", "connect.hedge has no effect with one backend")
	}
}
