package config

import (
	"maps"
	"net/netip"
	"slices"
)

// CheckAddresses finds listeners whose addresses overlap, with each other or with the admin
// address, and backends that are a listener which leads back to their own pool. Validate runs it on
// the values alone. Call it again with what is known of this machine, and of the host names when
// they are resolved.
func CheckAddresses(cfg *Config, here Machine) []Fault {
	listeners := cfg.Listeners
	book := &addressBook{
		exact: make(map[Address]claims), ports: make(map[uint16]*portClaims), local: make(map[netip.Addr]bool, len(here.Addresses)),
		here: here,
	}
	for _, ip := range here.Addresses {
		book.local[ip.Unmap().WithZone("")] = true
	}
	var faults []Fault
	total := 0
	for i := range listeners {
		for k, b := range listeners[i].Binds {
			if total += b.count(); total > maxBinds {
				continue // Validate refuses it
			}
			reported := false // only the first port of a range
			for a := range b.Addresses() {
				c := &claim{address: a, listener: &listeners[i], index: k, on: b.Interface, v6only: b.V6Only}
				if known := here.Hosts[a.Name()]; len(known) > 0 {
					c.ip = known[0].Addr()
				}
				if f := book.claim(c); f != nil && !reported {
					faults = append(faults, *f)
					reported = true
				}
			}
		}
	}
	if cfg.Admin != nil {
		a := cfg.Admin.Bind
		c := &claim{address: a}
		if known := here.Hosts[a.Name()]; len(known) > 0 {
			c.ip = known[0].Addr()
		}
		if f := book.claim(c); f != nil && a != (Address{}) {
			faults = append(faults, *f)
		}
	}
	faults = append(faults, book.dualStack()...)
	return append(faults, book.loops(cfg)...)
}

// addressBook records which listener owns which address. The rules are those of bind(2) and
// listen(2): an address has one listener, and a wildcard takes all addresses of its families.
type addressBook struct {
	exact map[Address]claims
	ports map[uint16]*portClaims // of all interfaces
	local map[netip.Addr]bool    // addresses of this machine
	here  Machine
}

// claim is an address and the listener that owns it.
type claim struct {
	address  Address
	ip       netip.Addr // of a host name, when it is known
	listener *Listener  // nil for the admin address
	index    int        // of the listener's Binds
	on       string     // the network interface; "" for all
	v6only   V6Only
}

// apart reports whether two claims are for different network interfaces.
func (c *claim) apart(other *claim) bool { return c.on != "" && other.on != "" && c.on != other.on }

func (c *claim) String() string {
	if c.ip.IsValid() {
		return c.address.String() + " (" + c.ip.String() + ")"
	}
	return c.address.String()
}

func (c *claim) path() string {
	if c.listener == nil {
		return Path("admin", "bind")
	}
	return Path("listeners", c.listener.Name, "bind", c.index)
}

// owner says in a message what listens on the address.
func (c *claim) owner() string {
	if c.listener == nil {
		return "the admin address"
	}
	return "the listener " + quote(c.listener.Name)
}

// portClaims are the claims of each kind on one port: the first ones on each network interface.
type portClaims struct {
	all, any4, any6  claims // every address, 0.0.0.0, or [::]
	one4, one6, name claims // a single address; a name, which may have either family
}

// claims are those of one kind. Most ports have one claim at most.
type claims []*claim

// here is the claim that a dial to this machine reaches: one on all network interfaces. Which
// interface a dial to this machine uses is not known, but it is most often the loopback one.
func (cs claims) here() *claim {
	i := slices.IndexFunc(cs, func(c *claim) bool { return c.on == "" || c.on == "lo" })
	if i < 0 {
		return nil
	}
	return cs[i]
}

// add keeps a claim unless its interface has one.
func (cs *claims) add(c *claim) {
	if !slices.ContainsFunc(*cs, func(other *claim) bool { return other.on == c.on }) {
		*cs = append(*cs, c)
	}
}

// beside returns the first claim that is not apart from c.
func (cs claims) beside(c *claim) *claim {
	i := slices.IndexFunc(cs, func(other *claim) bool { return !c.apart(other) })
	if i < 0 {
		return nil
	}
	return cs[i]
}

// claim notes who listens on an address, and refuses one that another bind owns. Port 0 is a new
// port each time.
func (book *addressBook) claim(c *claim) *Fault {
	a := book.here.canonical(c.address)
	if !a.IsUnix() && a.Port == 0 {
		return nil
	}
	if owner := book.exact[a].beside(c); owner != nil {
		return c.taken(owner)
	}
	book.exact[a] = append(book.exact[a], c)
	if a.IsUnix() {
		return nil
	}
	p := book.ports[a.Port]
	if p == nil {
		p = new(portClaims)
		book.ports[a.Port] = p
	}
	var kind *claims
	var others []claims
	switch {
	case a.Host != "":
		kind, others = &p.name, []claims{p.all, p.any6}
	case !a.IP.IsValid():
		kind, others = &p.all, []claims{p.any4, p.any6, p.one4, p.one6, p.name}
	case a.IP == netip.IPv4Unspecified():
		kind, others = &p.any4, []claims{p.all, p.one4}
	case a.IP == netip.IPv6Unspecified():
		kind, others = &p.any6, []claims{p.all, p.one6, p.name} // and IPv4: see dualStack
	case a.IP.Is4():
		kind, others = &p.one4, []claims{p.all, p.any4}
	default:
		kind, others = &p.one6, []claims{p.all, p.any6}
	}
	for _, of := range others {
		if other := of.beside(c); other != nil {
			return c.fault(other, "choose another port, or remove one of them", "overlaps %s of", other)
		}
	}
	kind.add(c)
	return nil
}

// taken is the fault of an address that another bind has already.
func (c *claim) taken(owner *claim) *Fault {
	if owner.listener != c.listener {
		return c.fault(owner, "choose another address", "is already taken by")
	}
	f := faultf("remove one", "%s is listed twice in the listener %s", c, quote(c.listener.Name))
	if owner.address != c.address {
		f.Msg += ", first as " + owner.String()
	}
	f.Path, f.See = c.path(), []string{owner.path()}
	return f
}

// fault says what the address of c does to that of another listener.
func (c *claim) fault(other *claim, fix, does string, args ...any) *Fault {
	args = append(append([]any{c, c.owner()}, args...), other.owner())
	f := faultf(fix, "%s of %s "+does+" %s", args...)
	f.Path, f.See = c.path(), []string{other.path()}
	return f
}

// dualStack finds the binds to [::] that take the IPv4 addresses of others with them: [::] is for
// both families unless v6only says something else, or there is 0.0.0.0 at its port.
func (book *addressBook) dualStack() []Fault {
	type pair struct{ six, four *claim }
	lowest := make(map[string]pair) // by the bind to [::]: report only one pair of ports for two ranges
	for _, p := range book.ports {
		for _, six := range p.any6 {
			four := p.one4.beside(six)
			switch any4 := p.any4.beside(six); {
			case six.v6only == V6Yes:
				continue
			case any4 != nil && six.v6only == V6No:
				four = any4
			case any4 != nil:
				continue
			}
			path := six.path()
			if known, ok := lowest[path]; four != nil && (!ok || six.address.Port < known.six.address.Port) {
				lowest[path] = pair{six, four}
			}
		}
	}
	var faults []Fault
	for _, path := range slices.Sorted(maps.Keys(lowest)) {
		p := lowest[path]
		fix := "[::] takes IPv4 too; choose another port, or write single addresses"
		if p.six.v6only == V6No {
			fix = "[::] with v6only: false takes IPv4 too; remove v6only, or choose another port"
		}
		faults = append(faults, *p.six.fault(p.four, fix, "overlaps %s of", p.four))
	}
	return faults
}

// owners returns the listeners that dials to the backend would reach; none if it reaches none, or
// if that cannot be known.
func (book *addressBook) owners(b *Backend) (owners []*claim) {
	if b.Address.Host == "" {
		if c := book.owner(b.Address); c != nil {
			owners = []*claim{c}
		}
		return owners
	}
	for _, a := range book.here.resolved(b.Address) {
		if c := book.owner(a); c != nil && !slices.Contains(owners, c) {
			owners = append(owners, c)
		}
	}
	return owners
}

func (book *addressBook) owner(a Address) *claim {
	a = book.here.canonical(a)
	if c := book.exact[a].here(); c != nil {
		return c
	}
	p := book.ports[a.Port]
	if p == nil || a.IsUnix() {
		return nil
	}
	v4, here := a.IP.Is4(), a.IP.IsLoopback() || book.local[a.IP.WithZone("")]
	if a.Host != "" {
		v4, here = true, a.Host == "localhost" // resolved to IPv4 first
	}
	switch {
	case !here:
		return nil
	case len(p.all) > 0:
		return p.all.here()
	case v4 && len(p.any4) > 0:
		return p.any4.here()
	case v4 && len(p.any6) > 0 && p.any6[0].v6only == V6Yes:
		return nil
	}
	return p.any6.here()
}

// loops finds the backends that lead back to their own pool. A connection to one would cause
// another, and so on until the process runs out of descriptors. A listener may be a backend of
// another listener.
func (book *addressBook) loops(cfg *Config) (faults []Fault) {
	listeners, pools := cfg.Listeners, cfg.Pools
	byName := make(map[string]*Pool, len(pools))
	for i := range pools {
		byName[pools[i].Name] = &pools[i]
	}
	const open, done = 1, 2
	state := make(map[string]int, len(pools))
	var visit func(pool string)
	visit = func(pool string) {
		state[pool] = open
		for i := range byName[pool].Backends {
			b := &byName[pool].Backends[i]
			if b.Down {
				continue
			}
			for _, c := range book.owners(b) {
				if c.listener == nil {
					if cfg.Admin.Token == "" { // any client of the listener would be a local client
						f := faultf("remove it, or write admin: {token: ${ADMIN_TOKEN}}",
							"the backend %s is the admin address of the proxy itself, which has no token: every client of the pool %s could use it",
							b.Address, quote(pool))
						f.Path, f.See = Path("pools", pool, "backends", i, "address"), []string{c.path()}
						faults = append(faults, *f)
					}
					continue
				}
				looped := false
				for _, next := range c.listener.PoolNames() {
					switch {
					case byName[next] == nil || state[next] == done || looped:
					case state[next] == open:
						f := faultf("write the address of a server, or remove it",
							"the backend %s is the proxy itself: the pool %s leads back to it through %s of its listener %s",
							b.Address, quote(pool), c, quote(c.listener.Name))
						f.Path, f.See = Path("pools", pool, "backends", i, "address"), []string{c.path()}
						faults = append(faults, *f)
						looped = true
					default:
						visit(next)
					}
				}
			}
		}
		state[pool] = done
	}
	for i := range listeners {
		for _, name := range listeners[i].PoolNames() {
			if byName[name] != nil && state[name] == 0 {
				visit(name)
			}
		}
	}
	return faults
}
