package config

// pool decodes one pool.
func (d *decoder) pool(m *member) Pool {
	p := defaultPool(m.key, m.position(d.file))
	f, ok := d.object(m.value, m.keyNode(), poolSection)
	if !ok {
		return p
	}
	d.enum(f["policy"], policies, &p.Policy)
	if n := f["backends"]; n != nil {
		p.Backends = d.backends(n)
	}
	if n := f["connect"]; n != nil {
		if f, ok := d.object(n, n, connectSection); ok {
			d.duration(f["timeout"], false, &p.Connect.Timeout)
			d.integer(f["attempts"], 1, maxAttempts, false, &p.Connect.Attempts)
		}
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
	lines := make(map[string]int, len(n.items))
	for _, item := range n.items {
		b, at, ok := d.backend(item)
		if !ok {
			continue
		}
		if first, ok := lines[b.Address]; ok {
			d.faultf(at, "remove it, or give the first a higher weight", "the backend %s is repeated, first on line %d", b.Address, first)
			continue
		}
		lines[b.Address] = at.line
		backends = append(backends, b)
	}
	return backends
}

// backend decodes one entry; at is where its address stands.
func (d *decoder) backend(n *node) (b Backend, at *node, ok bool) {
	const what = "host:port or unix:/path"
	address, weight := n, (*node)(nil)
	if n.kind == kindMap {
		f, ok := d.object(n, n, backendSection)
		if !ok || f["address"] == nil {
			return b, n, false
		}
		address, weight = f["address"], f["weight"]
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
	b, f := parseBackend(text)
	if f != nil {
		d.fault(address, f)
		return b, address, false
	}
	b.Weight = defaultWeight
	b.Pos = d.position(n)
	d.integer(weight, 1, maxWeight, false, &b.Weight)
	return b, address, true
}
