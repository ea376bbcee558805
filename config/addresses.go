package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// CheckAddresses finds listeners whose addresses overlap, and backends that
// are a listener which leads back to their own pool. Load runs it on the file
// alone. Call it again once host names are resolved (with the addresses in
// Host), and with what is known of this machine. The error is of type
// [Problems].
func CheckAddresses(listeners []Listener, pools []Pool, here Machine) error {
	var ps Problems
	book := newAddressBook(here)
	var told Position // report only the first port of a range
	for i := range listeners {
		for _, b := range listeners[i].Binds {
			if f := book.claim(b, listeners[i].Name); f != nil && (b.Pos != told || told.Line == 0) {
				told = b.Pos
				ps = append(ps, b.problem(f))
			}
		}
	}
	book.dualStack(func(b Bind, f *fault) { ps = append(ps, b.problem(f)) })
	ps = append(ps, book.loops(listeners, pools)...)
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted("")
}

// problem is a fault at the position of the bind.
func (b Bind) problem(f *fault) Problem {
	p := Problem{File: b.Pos.File, Line: b.Pos.Line, Col: b.Pos.Col, Msg: f.msg, Fix: f.fix}
	if b.Pos == (Position{}) {
		p.Env = keyListenerPort
	}
	return p
}

// addressBook records which listener owns which address. The rules are those
// of bind(2) and listen(2): an address has one listener, and a wildcard takes
// all addresses of its families.
type addressBook struct {
	exact map[address]*claim
	ports map[uint16]*portClaims
	local map[netip.Addr]bool // addresses of this machine
	here  Machine
}

type address struct {
	host string // TCP only
	port uint16
	path string // unix sockets only
}

// claim is a bind and the listener that owns it.
type claim struct {
	bind     Bind
	listener string
}

// portClaims are the first claims of each kind on one port.
type portClaims struct {
	all, any4, any6  *claim // the host is empty, 0.0.0.0, or [::]
	one4, one6, name *claim // a single address; a name, which may have either family
}

func newAddressBook(here Machine) *addressBook {
	book := &addressBook{
		exact: make(map[address]*claim), ports: make(map[uint16]*portClaims), local: make(map[netip.Addr]bool, len(here.Addresses)),
		here: here,
	}
	for _, ip := range here.Addresses {
		book.local[ip.Unmap().WithZone("")] = true
	}
	return book
}

// claim notes that a listener listens on b, and refuses an address that another
// bind owns. Port 0 is a new port each time.
func (a *addressBook) claim(b Bind, listener string) *fault {
	c := &claim{b, listener}
	if b.Network == "unix" {
		return a.claimExact(a.socket(b.Path), c)
	}
	if b.Port == 0 {
		return nil
	}
	ip, err := a.ip(b.Host)
	p := a.ports[b.Port]
	if p == nil {
		p = new(portClaims)
		a.ports[b.Port] = p
	}
	var kind **claim
	var others []*claim
	switch {
	case b.Host == "":
		kind, others = &p.all, []*claim{p.all, p.any4, p.any6, p.one4, p.one6, p.name}
	case err != nil:
		kind, others = &p.name, []*claim{p.all, p.any6}
	case ip == netip.IPv4Unspecified():
		kind, others = &p.any4, []*claim{p.all, p.one4}
	case ip == netip.IPv6Unspecified():
		kind, others = &p.any6, []*claim{p.all, p.one6, p.name} // and IPv4: see dualStack
	case ip.Is4():
		kind, others = &p.one4, []*claim{p.all, p.any4}
	default:
		kind, others = &p.one6, []*claim{p.all, p.any6}
	}
	if f := a.claimExact(address{host: hostKey(b.Host, ip, err), port: b.Port}, c); f != nil {
		return f
	}
	for _, other := range others {
		if other != nil {
			return c.overlaps(other)
		}
	}
	if *kind == nil {
		*kind = c
	}
	return nil
}

// hostKey is the same for all spellings of one host.
func hostKey(host string, ip netip.Addr, notIP error) string {
	if notIP != nil {
		return strings.TrimSuffix(host, ".")
	}
	return ip.String()
}

func (a *addressBook) claimExact(at address, c *claim) *fault {
	switch owner := a.exact[at]; {
	case owner == nil:
	case owner.listener == c.listener:
		first := "first"
		if owner.bind.String() != c.bind.String() {
			first = "first as " + owner.bind.String()
		}
		if line := owner.bind.Pos.Line; line > 0 {
			first += fmt.Sprintf(" on line %d", line)
		}
		return faultf("remove one", "%s is listed twice in the listener %s (%s)", c.bind, quote(c.listener), first)
	default:
		return faultf("choose another address", "%s of the listener %s is already taken by the listener %s",
			c.bind, quote(c.listener), owner.where())
	}
	a.exact[at] = c
	return nil
}

func (c *claim) overlaps(other *claim) *fault {
	return faultf("choose another port, or remove one of them", "%s of the listener %s overlaps %s of the listener %s",
		c.bind, quote(c.listener), other.bind, other.where())
}

// where names the listener and the line of the bind.
func (c *claim) where() string {
	text := quote(c.listener)
	if c.bind.Pos.Line > 0 {
		text += fmt.Sprintf(" (line %d)", c.bind.Pos.Line)
	}
	return text
}

// dualStack finds the binds to [::] that take the IPv4 addresses of others
// with them: [::] is for both families unless there is 0.0.0.0 at its port.
func (a *addressBook) dualStack(report func(Bind, *fault)) {
	told := make(map[Position]*portClaims)
	for _, p := range a.ports {
		if p.any6 == nil || p.any4 != nil || p.one4 == nil {
			continue
		}
		// Report only one pair of ports for two ranges.
		if other := told[p.any6.bind.Pos]; other == nil || p.any6.bind.Port < other.any6.bind.Port {
			told[p.any6.bind.Pos] = p
		}
	}
	for _, p := range told {
		f := p.any6.overlaps(p.one4)
		f.fix = "[::] takes IPv4 too; choose another port, or write single addresses"
		report(p.any6.bind, f)
	}
}

// owner returns the listener that a dial to the backend would reach; nil if it
// reaches none, or if that cannot be known.
func (a *addressBook) owner(b *Backend) *claim {
	if b.Network == "unix" {
		return a.exact[a.socket(b.Path)]
	}
	ip, err := a.ip(b.Host)
	if c := a.exact[address{host: hostKey(b.Host, ip, err), port: b.Port}]; c != nil {
		return c
	}
	p := a.ports[b.Port]
	if p == nil {
		return nil
	}
	v4, here := ip.Is4(), ip.IsLoopback() || a.local[ip.WithZone("")]
	if err != nil {
		v4, here = true, hostKey(b.Host, ip, err) == "localhost" // resolved to IPv4 first
	}
	switch {
	case !here:
		return nil
	case p.all != nil:
		return p.all
	case v4 && p.any4 != nil:
		return p.any4
	}
	return p.any6
}

// loops finds the backends that lead back to their own pool. A connection to
// one would cause another, and so on until the process runs out of
// descriptors. A listener that is a backend of another listener is no fault.
func (a *addressBook) loops(listeners []Listener, pools []Pool) (ps []Problem) {
	byName := make(map[string]*Pool, len(pools))
	for i := range pools {
		byName[pools[i].Name] = &pools[i]
	}
	poolOf := make(map[string]string, len(listeners))
	for i := range listeners {
		poolOf[listeners[i].Name] = listeners[i].Pool
	}
	const open, done = 1, 2
	state := make(map[string]int, len(pools))
	var visit func(pool string)
	visit = func(pool string) {
		state[pool] = open
		for i := range byName[pool].Backends {
			b := &byName[pool].Backends[i]
			c := a.owner(b)
			if c == nil || b.Down {
				continue
			}
			next := poolOf[c.listener]
			switch {
			case byName[next] == nil || state[next] == done:
			case state[next] == open:
				ps = append(ps, b.problem(faultf("write the address of a server, or remove it",
					"the backend %s is the proxy itself: its listener %s listens on %s and leads back to the pool %s",
					b.Address, c.where(), c.bind, quote(pool))))
			default:
				visit(next)
			}
		}
		state[pool] = done
	}
	for i := range listeners {
		if name := listeners[i].Pool; byName[name] != nil && state[name] == 0 {
			visit(name)
		}
	}
	return ps
}

// problem is a fault at the position of the backend.
func (b *Backend) problem(f *fault) Problem {
	p := Problem{File: b.Pos.File, Line: b.Pos.Line, Col: b.Pos.Col, Msg: f.msg, Fix: f.fix}
	if b.Pos == (Position{}) {
		p.Env = keyBackendPorts
	}
	return p
}
