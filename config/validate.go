package config

import (
	"slices"
	"time"
)

// Complete fills in the values that follow from others when they are left out: the pool of a
// listener when there is only one, the names of ACL rules, and the settings of health checks that
// depend on their type.
func Complete(c *Config) {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Pool == "" && len(c.Pools) == 1 && l.Routes == nil {
			l.Pool = c.Pools[0].Name
		}
		if l.PerClient != nil {
			l.PerClient.complete()
		}
		if l.ACL != nil {
			l.ACL.setNames()
		}
	}
	for i := range c.Pools {
		if h := c.Pools[i].Health; h != nil {
			h.complete()
		}
	}
}

func (h *Health) complete() {
	const shortest = 100 * time.Millisecond
	if h.FastInterval == 0 {
		h.FastInterval = min(max(h.Interval/4, shortest), h.Interval)
	}
	if h.Type != HealthHTTP {
		return
	}
	if h.Method == "" {
		h.Method = defaultMethod
	}
	if h.Path == "" {
		h.Path = defaultPath
	}
	if h.Status == nil {
		h.Status = []StatusRange{defaultStatus}
	}
}

// Validate reports everything that is wrong with the values of a configuration, which Complete has
// seen.
func Validate(c *Config) []Fault {
	check := newChecker(c, unread{})
	check.all()
	return check.faults
}

// checker collects what is wrong.
type checker struct {
	c        *Config
	faults   []Fault
	warnings []Fault
	unread   unread
	pools    map[string]*Pool
	names    []string // of the pools
}

func newChecker(c *Config, unread unread) *checker {
	check := &checker{c: c, unread: unread, pools: make(map[string]*Pool, len(c.Pools))}
	for i := range c.Pools {
		check.pools[c.Pools[i].Name] = &c.Pools[i]
		check.names = append(check.names, c.Pools[i].Name)
	}
	return check
}

func (c *checker) add(p *path, f *Fault) {
	if f == nil || c.unread.has(p) {
		return
	}
	f.Path = p.String()
	c.faults = append(c.faults, *f)
}

// name checks the name at p, which is known also when a value of what has the name could not be
// read.
func (c *checker) name(p *path, name string) {
	if f := checkName(name); f != nil && !c.unread.exact[p.String()] {
		f.Path = p.String()
		c.faults = append(c.faults, *f)
	}
}

func (c *checker) faultf(p *path, fix, format string, args ...any) {
	c.add(p, faultf(fix, format, args...))
}

// refuse is faultf for a value that is bad.
func (c *checker) refuse(bad bool, p *path, fix, format string, args ...any) {
	if bad {
		c.faultf(p, fix, format, args...)
	}
}

// clear reports whether all of these keys of the mapping at p could be read.
func (c *checker) clear(p *path, keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return c.unread.has(p.child(key)) })
}

// all checks every value by itself, and then the rules that involve several values.
func (c *checker) all() {
	section(c.c).check(c, nil)
	c.drain()
	c.identity()
	for i := range c.c.Pools {
		c.pool(&c.c.Pools[i], newPath("pools", c.c.Pools[i].Name))
	}
	for i := range c.c.Listeners {
		c.listener(&c.c.Listeners[i], newPath("listeners", c.c.Listeners[i].Name))
	}
	if len(c.unread.exact) == 0 && len(c.c.Listeners) > 0 {
		c.idleQueues()
		c.idleExtensions()
	}
	c.bindCount()
	if c.c.Admin != nil {
		c.admin(c.c.Admin)
	}
	c.faults = append(c.faults, CheckAddresses(c.c, Machine{})...)
}

// drain checks the limits of a graceful shutdown against each other.
func (c *checker) drain() {
	at := newPath("drain")
	if d := &c.c.Drain; c.clear(at, "timeout", "spread") {
		c.refuse(d.Timeout >= 0 && d.Spread > d.Timeout, at.child("spread"), "write a shorter one, or a longer timeout",
			"drain.spread must not be longer than drain.timeout, which is %v", d.Timeout)
	}
}

const maxBinds = 65535 // of the whole configuration, ranges expanded

// bindCount bounds the number of addresses.
func (c *checker) bindCount() {
	n := 0
	for i := range c.c.Listeners {
		for k, b := range c.c.Listeners[i].Binds {
			if n += b.count(); n > maxBinds {
				c.faultf(newPath("listeners", c.c.Listeners[i].Name, "bind", k),
					"write fewer or shorter ranges", "more than %d addresses to listen on", maxBinds)
			}
		}
	}
}

// listener checks the rules that involve several values of one listener.
func (c *checker) listener(l *Listener, at *path) {
	pool := c.pools[l.Pool]
	names := c.names
	switch {
	case pool != nil || len(names) == 0:
	case l.Pool == "" && (len(l.Routes) > 0 || !c.clear(at, "routes")):
	case l.Pool == "":
		fix := "write the name of one"
		if len(names) <= 8 {
			fix = "write pool: " + oneOf(names)
		}
		c.faultf(at.child("pool"), fix, "pool is missing, and there are %d pools", len(names))
	default:
		c.faultf(at.child("pool"), didYouMean(l.Pool, names), "there is no pool %s", quote(l.Pool))
	}
	if l.ACL != nil && c.clear(at, "acl") {
		c.reached(l.ACL, at.child("acl"))
		c.distinct(l.ACL, at.child("acl"))
	}
	if len(l.Routes) > 0 {
		c.routes(l, at.child("routes"))
		c.serverFirst(l)
	}
	if len(l.Binds) > 0 && c.clear(at, "bind") {
		c.socket(l, at)
	}
	c.reads(l, at)
	c.listenerLimit(l, at)
	c.perClient(l, at)
	c.bandwidth(l, at)
	if l.TCP != nil && c.clear(at, "tcp", "bind") {
		l.TCP.check(c, at.child("tcp"), true)
		onlyUnix := len(l.Binds) > 0 && !slices.ContainsFunc(l.Binds, func(b Bind) bool { return !b.IsUnix() })
		c.refuse(onlyUnix, at.child("tcp"), "remove it", "tcp has no effect on unix sockets")
	}
	if !c.clear(at, "when_no_backend") {
		return
	}
	for _, name := range l.PoolNames() {
		if pool := c.pools[name]; pool != nil {
			c.withoutBackend(l, at.child("when_no_backend"), pool)
		}
	}
	c.refuse(l.WhenNoBackend == NoBackendUnlisten && len(l.Routes) > 0, at.child("when_no_backend"), "write another action",
		"when_no_backend: unlisten is not for a listener with routes, whose pools go down one by one")
	c.refuse(l.NoBackendMessage != DefaultNoBackendMessage && l.WhenNoBackend != NoBackendMessage, at.child("no_backend_message"),
		"write that, or remove it", "no_backend_message has no effect without when_no_backend: message")
}

// withoutBackend checks what a listener does when its pool has no backend.
func (c *checker) withoutBackend(l *Listener, at *path, pool *Pool) {
	inPool := newPath("pools", pool.Name)
	switch l.WhenNoBackend {
	case NoBackendQueue:
		c.refuse(pool.Queue == nil && c.clear(inPool, "queue"), at, "write queue: {size: 1000, timeout: 10s} there",
			"when_no_backend: queue requires a queue in the pool %s", pool.Name)
	case NoBackendUnlisten:
		if len(l.Routes) > 0 {
			return // refused as such
		}
		if unix := firstUnix(l.Binds); unix >= 0 {
			c.faultf(at, "write another action, or give the address to a listener of its own",
				"when_no_backend: unlisten is not for a unix socket, and %s is one", l.Binds[unix])
		}
		c.refuse(pool.Health == nil && c.clear(inPool, "health"), at, "write health: {type: tcp} there",
			"when_no_backend: unlisten requires health in the pool %s, to notice when a backend is back", l.Pool)
		c.refuse(pool.PanicThreshold > 0, at, "remove one of them",
			"when_no_backend: unlisten has no effect with panic_threshold in the pool %s, which uses backends that are down", l.Pool)
	}
}

func firstUnix(binds []Bind) int {
	return slices.IndexFunc(binds, func(b Bind) bool { return b.IsUnix() })
}

// socket checks the settings of unix sockets, and warns of an ACL on one.
func (c *checker) socket(l *Listener, at *path) {
	unix := firstUnix(l.Binds)
	if !slices.ContainsFunc(l.Binds, func(b Bind) bool { return b.IsUnix() && !b.IsAbstract() }) {
		const fix = "remove it, or write bind: unix:/path" // an abstract one has no file
		c.refuse(l.Socket.Owner != (Owner{}), at.child("owner"), fix, "owner requires a unix socket in bind")
		c.refuse(l.Socket.Mode != 0, at.child("mode"), fix, "mode requires a unix socket in bind")
	}
	if unix < 0 || l.ACL == nil || l.ProxyProtocol != nil && l.ProxyProtocol.Unix { // a header has their address
		return
	}
	onlyUnix := !slices.ContainsFunc(l.Binds, func(b Bind) bool { return !b.IsUnix() })
	var f *Fault
	switch {
	case !l.ACL.DefaultAllow():
		f = faultf("move the socket to a listener of its own, without acl",
			"the acl denies every client of %s: clients of a unix socket have no address that a rule could match, and a list with an allow rule denies by default", l.Binds[unix])
	case onlyUnix && l.ACL.deniesAll():
		f = faultf("limit access with mode and owner, and remove the acl",
			"the acl allows every client of %s: clients of a unix socket have no address that a rule could match, and a list without an allow rule allows by default", l.Binds[unix])
	default:
		return
	}
	f.Path = at.child("bind").item(unix).String()
	c.warnings = append(c.warnings, *f)
}

// idleQueues finds the queues in which no client can ever wait.
func (c *checker) idleQueues() {
	asked := make(map[string]bool)
	for i := range c.c.Listeners {
		if c.c.Listeners[i].WhenNoBackend == NoBackendQueue {
			for _, name := range c.c.Listeners[i].PoolNames() {
				asked[name] = true
			}
		}
	}
	for i := range c.c.Pools {
		p := &c.c.Pools[i]
		full := slices.ContainsFunc(p.Backends, func(b Backend) bool { return b.MaxConnections > 0 }) || p.MaxConnections > 0
		if p.Queue != nil && len(p.Backends) > 0 && !full && !asked[p.Name] {
			c.faultf(newPath("pools", p.Name, "queue"), "write max_connections for the pool or the backends, or when_no_backend: queue in the listener, or remove it",
				"no client can ever wait in this queue: no backend can be full, and no listener asks for it")
		}
	}
}
