package config

// outlier decodes when a backend is ejected whose connections fail.
func (d *decoder) outlier(n *node) *Outlier {
	o := &Outlier{Failures: defaultFailures, Eject: defaultEject, MaxEjected: defaultMaxEjected}
	if f, ok := d.object(n, n, outlierSection); ok {
		d.integer(f["failures"], 1, maxFailures, false, &o.Failures)
		d.duration(f["eject"], false, &o.Eject)
		d.percent(f["max_ejected"], 1, 100, &o.MaxEjected)
		d.duration(f["first_byte"], true, &o.FirstByte)
	}
	return o
}

// queue decodes where clients wait for a backend.
func (d *decoder) queue(n *node) *Queue {
	q := &Queue{Size: defaultQueueSize, Timeout: defaultQueueTimeout}
	if f, ok := d.object(n, n, queueSection); ok {
		d.integer(f["size"], 1, maxQueueSize, false, &q.Size)
		d.duration(f["timeout"], false, &q.Timeout)
	}
	return q
}

// hash decodes how clients are mapped to backends.
func (d *decoder) hash(n *node, h *Hash) {
	f, ok := d.object(n, n, hashSection)
	if !ok {
		return
	}
	if seed := f["seed"]; seed != nil {
		if text, ok := d.text(seed, "a text"); ok {
			h.Seed = text
		}
	}
	d.percent(f["max_load"], minMaxLoad, maxMaxLoad, &h.MaxLoad)
}

// rebalance decodes how fast connections are moved.
func (d *decoder) rebalance(n *node) *Rebalance {
	r := &Rebalance{Rate: defaultRebalanceRate, Jitter: defaultRebalanceJitter}
	if f, ok := d.object(n, n, rebalanceSection); ok {
		d.rate(f["rate"], &r.Rate)
		d.percent(f["jitter"], 0, maxRebalanceJitter, &r.Jitter)
	}
	return r
}

// live decodes what becomes of live connections, of the pool at n.
func (d *decoder) live(f fields, n *node, p *Pool) {
	down := d.enum(f["on_down"], liveActions, &p.OnDown)
	removed := d.enum(f["on_removed"], liveActions, &p.OnRemoved)
	recovered := d.enum(f["on_recovered"], liveActions, &p.OnRecovered)
	d.duration(f["spread"], true, &p.Spread)
	all := [...]string{p.OnDown, p.OnRemoved, p.OnRecovered}
	if f["spread"] != nil && down && removed && recovered && all == [...]string{"keep", "keep", "keep"} {
		d.faultf(n.find("spread"), "remove it", "spread has no effect when on_down, on_removed and on_recovered keep all connections")
	}
}
