package config

import (
	"fmt"
	"strings"
	"unicode"
)

// defaults returns a Config with everything that the user may leave out.
func (d *decoder) defaults() *Config {
	return &Config{
		File:   d.file,
		Log:    Log{Level: defaultLogLevel, Format: defaultLogFormat, Connections: defaultLogConnections},
		Engine: defaultEngine,
		Drain:  Drain{Delay: defaultDrainDelay, Timeout: defaultDrainTimeout},
	}
}

func defaultListener(name string, pos Position) Listener {
	return Listener{
		Name:        name,
		DenyMessage: DefaultDenyMessage,
		Timeouts:    Timeouts{Idle: defaultIdle, HalfClose: defaultHalfClose},

		WhenNoBackend:    defaultWhenNoBackend,
		NoBackendMessage: DefaultNoBackendMessage,
		Pos:              pos,
	}
}

// full decodes the full form.
func (d *decoder) full(root *node) *Config {
	c := d.defaults()
	f, ok := d.object(root, root, fullSection)
	if !ok {
		return c
	}
	if n := f["log"]; n != nil {
		d.log(n, &c.Log)
	}
	d.integer(f["workers"], 1, maxWorkers, true, &c.Workers)
	d.enum(f["engine"], engines, &c.Engine)
	d.integer(f["max_connections"], 1, maxConnections, true, &c.MaxConnections)
	if n := f["drain"]; n != nil {
		if f, ok := d.object(n, n, drainSection); ok {
			d.duration(f["delay"], true, &c.Drain.Delay)
			d.duration(f["timeout"], true, &c.Drain.Timeout)
		}
	}
	var poolNames []string
	if n := f["pools"]; n != nil {
		poolNames = d.named(n, "pool", "backends", func(m *member) {
			c.Pools = append(c.Pools, d.pool(m))
		})
	}
	if n := f["listeners"]; n != nil {
		known := make(map[string]bool, len(poolNames))
		for _, name := range poolNames {
			known[name] = true
		}
		d.named(n, "listener", "bind", func(m *member) {
			c.Listeners = append(c.Listeners, d.listener(m, poolNames, known))
		})
		d.idleQueues(poolNames)
	}
	d.addresses(c)
	return c
}

func (d *decoder) log(n *node, log *Log) {
	f, ok := d.object(n, n, logSection)
	if !ok {
		return
	}
	d.enum(f["level"], logLevels, &log.Level)
	d.enum(f["format"], logFormats, &log.Format)
	d.boolean(f["connections"], &log.Connections)
}

// named goes through a mapping from names to things and returns the names;
// inside is a key that each thing must have.
func (d *decoder) named(n *node, what, inside string, each func(*member)) []string {
	if n.kind != kindMap {
		d.expected(n, "a mapping from names to "+what+"s", fmt.Sprintf("write NAME: {%s: ...}", inside))
		return nil
	}
	if len(n.members) == 0 {
		d.faultf(n, fmt.Sprintf("write NAME: {%s: ...}", inside), "there is no %s", what)
	}
	var names []string
	lines := make(map[string]int, len(n.members))
	for _, m := range n.members {
		if first, ok := lines[m.key]; ok {
			d.faultf(m.keyNode(), "choose another name", "the %s %s is repeated, first on line %d", what, quote(m.key), first)
			continue
		}
		lines[m.key] = m.line
		names = append(names, m.key)
		if f := checkName(m.key); f != nil {
			d.fault(m.keyNode(), f)
		}
		each(m)
	}
	return names
}

// checkName keeps names fit for logs, metrics and URLs.
func checkName(name string) *fault {
	switch {
	case name == "":
		return faultf("write a name", "the name is empty")
	case strings.Contains(name, "${"):
		return faultf("write the name out", "the name %s holds a variable, which only values may", quote(name))
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return faultf("write it without", "the name %s holds a space or a character that cannot be printed", quote(name))
	case len(name) > maxNameLen:
		return faultf("write a shorter one", "the name %s is longer than %d bytes", quote(name), maxNameLen)
	}
	return nil
}

// listener decodes one listener; pools are the names it may refer to.
func (d *decoder) listener(m *member, pools []string, known map[string]bool) Listener {
	l := defaultListener(m.key, m.position(d.file))
	f, ok := d.object(m.value, m.keyNode(), listenerSection)
	if !ok {
		d.unclear = true
		return l
	}
	if n := f["bind"]; n != nil {
		l.Binds = d.bindList(n)
	}
	l.Pool = d.poolName(f["pool"], m, pools, known)
	if n := f["acl"]; n != nil {
		l.ACL = d.acl(n)
	}
	d.message(f["deny_message"], "deny_message", &l.DenyMessage)
	d.integer(f["max_connections"], 1, maxConnections, false, &l.MaxConnections)
	if n := f["timeouts"]; n != nil {
		if f, ok := d.object(n, n, timeoutsSection); ok {
			d.duration(f["idle"], true, &l.Timeouts.Idle)
			d.halfClose(f["half_close"], &l.Timeouts)
		}
	}
	understood := d.enum(f["when_no_backend"], noBackendActions, &l.WhenNoBackend)
	d.message(f["no_backend_message"], "no_backend_message", &l.NoBackendMessage)
	d.socket(m.value, f, &l)
	d.checkListener(&l, m.value, understood)
	return l
}

// message sets dst to a text for clients.
func (d *decoder) message(n *node, key string, dst *string) {
	if n == nil {
		return
	}
	text, ok := d.text(n, "a text")
	if !ok {
		return
	}
	if len(text) > maxMessage {
		d.faultf(n, "write a shorter one", "the %s is longer than %d bytes", key, maxMessage)
	}
	*dst = text
}

// poolName resolves a listener's pool. With exactly one pool there is nothing
// to choose, and the key may be left out.
func (d *decoder) poolName(n *node, m *member, pools []string, known map[string]bool) string {
	if n == nil {
		if len(pools) == 1 {
			return pools[0]
		}
		if len(pools) > 1 {
			fix := "write the name of one"
			if len(pools) <= 8 {
				fix = "write pool: " + oneOf(pools)
			}
			d.faultf(m.keyNode(), fix, "pool is missing, and there are %d pools", len(pools))
		}
		return ""
	}
	name, ok := d.text(n, "the name of a pool")
	if ok && !known[name] && len(pools) > 0 {
		d.faultf(n, didYouMean(name, pools), "there is no pool %s", quote(name))
	}
	return name
}

// bindList decodes a bind key.
func (d *decoder) bindList(n *node) []Bind {
	const what = "host:port, unix:/path or a list of them"
	if n.kind == kindNumber {
		d.expected(n, what, "write "+quote(":"+n.text))
		return nil
	}
	items, ok := d.stringList(n, what)
	if !ok {
		return nil
	}
	if len(items) == 0 {
		d.faultf(n, `write ":8080"`, "there is no address to listen on")
	}
	var binds []Bind
	for _, item := range items {
		binds = append(binds, d.bind(item)...)
	}
	return binds
}

func (d *decoder) bind(n *node) []Bind {
	if n.kind == kindNumber {
		d.expected(n, "host:port or unix:/path", "write "+quote(":"+n.text))
		return nil
	}
	text, ok := d.str(n, "host:port or unix:/path")
	if !ok {
		return nil
	}
	var binds []Bind
	var f *fault
	if d.bound <= maxBinds { // past the limit, expand no more ranges
		binds, f = parseBinds(text)
		d.bound += len(binds)
	}
	if f == nil && d.bound > maxBinds {
		f = faultf("write fewer or shorter ranges", "more than %d addresses to listen on", maxBinds)
	}
	if f != nil {
		d.fault(n, f)
		return nil
	}
	for i := range binds {
		binds[i].Pos = d.position(n)
	}
	return binds
}
